"""How refusals are worded: patterns over a sentence in lower case, with straight quotes and single spaces.

Each entry of `WORDINGS` is one way of saying that the passages hold no answer. It is looked for only where the words
that it cannot do without stand, which few sentences hold: 49 patterns at each place of a sentence take 600 µs. Long
patterns stay text: `re` compiles them at first use and keeps them, and a plan does not wait 40 ms for it.
"""


def gap(most: int) -> str:
    """At most so many words."""
    return rf"(?:[\w'/-]+,? ){{0,{most}}}?"


def none_stated(tense: str) -> str:
    """ "No weight is given for the pump.", the verb in a tense."""
    return (
        rf"^(?:(?:so|but|and|however),? )?no (?!refund|credit|discount|warranty|guarantee){gap(4)}(?:{tense})"
        r" (?:\w+ly )?(?:given|stated|mentioned|specified|disclosed|indicated|listed|named)"
        r"(?: for (?:the|this|that|these|it)\b[^.!?;]*)?\W*$"
    )


CLAUSE = r"[^.!?;]{0,80}?"
SOURCE = (  # what a refusal speaks of; a treaty or a law that "does not mention" something is none of these
    r"(?:contexts?|passages?|texts?|documents?|documentation|articles?|sources?|excerpts?|paragraphs?|snippets?"
    r"|(?:provided|given|supplied|reference) (?:materials?|contents?)|information|info|search results?|references?"
    r"|(?:data ?)?sheets?|tables?|charts?|manuals?|extracts?)\b(?! (?:of|known|called|code|message|menu|numbers?|ids?"
    r"|titles?|types?|formats?|sizes?|in which|under|through"
    r"|between|across"
    r"|beneath|age|era|technology|theory|systems?|boards?|office|paradox|minister)\b)"
)
PASSAGES = (  # surely the ones that the answer is to come from, whatever it is that they do not do
    r"(?:contexts?|passages?|texts?|excerpts?|snippets?|(?:provided|given|supplied|retrieved|reference) (?:\w+ )?"
    r"(?:documents?|articles?|sources?|paragraphs?|materials?|contents?|information))\b(?! (?:of|code|message|menu"
    r"|in which|under|through|between|across|beneath)\b)"
)
THE_SOURCE = (
    rf"(?:\b(?:(?:the|this|that|these|those|your|my|given|provided|supplied|retrieved) {gap(4)}|(?:any|all|both"
    rf"|either)"
    rf" (?:of (?:the|these|those|your|my) {gap(3)})?(?:given |provided |supplied |retrieved |available )?){SOURCE}"
    r"|^(?:context|passages?|excerpts?)\b)"
)
OUT_OF = rf"(?:in|by|from|within|on|using|with|given|among) (?:just |only |solely |any of )?(?:{THE_SOURCE}|context)"
NOT = r"\b(?:not|cannot|never|nowhere|\w+n't)\b"
DO_NOT = r"(?:(?<!is )(?<!are )(?<!was )(?<!were )\b(?:not|cannot|never)|(?:do|does|did|ca|could|have|has)n't)\b"
CANNOT = r"\b(?:can ?not|can't|could not|couldn't|unable|not able|n't able|impossible|(?:not|n't) possible|failed)\b"
CANNOT_NOW = (  # not of a minister who could not answer
    r"\b(?:can ?not|can't|(?<!was )(?<!were )(?<!been )(?:unable|not able)|n't able|impossible|(?:not|n't) possible)\b"
)
UNCLEAR = (
    r"\b(?:unclear|(?:not|n't) (?:\w+ )?clear|unknown|unspecified|unstated|uncertain|difficult|hard|insufficient)\b"
)
TELL = (
    r"(?:stat|mention|specif|provid|giv|contain|includ|address|discuss|say|said|indicat|describ|answer|cover|offer"
    r"|clarif|detail|list|expla|disclos|reveal|refer|present|tell|defin|identif|nam(?=e|i)|not(?=e|i)|report|record"
    r"|document|establish|have\b|hold\b|show|suppl|touch|talk|appear|elaborat|deal|make\b|allow|enough|sufficient"
    r"|found|available|known|clear|determin|suggest|speak|help|confirm|quot|set out|relate|relevant|go into"
    r"|compar)\w*"
)
FIND = (
    r"(?:answer|find|found|determin|provid|locat|say|said|giv|tell|told|confirm|identif|see|seen|infer|help|respond"
    r"|offer|verif|know|establish|conclu|deduc|deriv|ascertain|state|assess|specif|assist|address|comment|extract"
    r"|sure"
    r")\w*"
)
NEWS = (
    r"(?:information|info|mention|details?|data|answers?|indication|references?|statement|discussion|explanation"
    r"|description|context|specifics|records?|clues?|facts?)\b(?! \w+ (?:is|are) (?:needed|required))"
)
FACT = rf"(?:evidence\b|{NEWS})"
OF_IT = r"(?:on|about|regarding|concerning|relat\w+|of|in|within|from|to|for|as|which|whether)\b"
GIVEN = (
    r"(?:stated|mentioned|specified|provided|given|said|disclosed|found|available|indicated|included|listed|discussed"
    r"|addressed|covered|answered|explained|described|revealed|reported)"
)
WORTH_SAYING = r"(?! (?:only|recommend|advise|suggest)\b)"
# What somebody else was not told is no refusal: "The information was not available to investigators until 1990."
TO_SOMEBODY = rf" to (?!me\b|us\b|{FIND})"
NOT_TO = rf"(?!{TO_SOMEBODY}| (?:until|before|online|at the time)\b)"
IN_REPORT = (  # of these, only what is said to be not stated in them
    r" in (?:the|this|that) (?:report|minutes|study|records?|data|letter|contract|specifications?|brochure|description"
    r"|review|paper|log|notes?|list|listing|catalogue|file|page|summary)\W*"
)
# "The passage mentions that he did not …" speaks of him; "… mentions that he did, but not when" of the passage.
SAYS_OTHERWISE = (
    r"(?:\w+ ){0,3}?(?:states|mentions|says|notes|indicates|explains|suggests|tells)"
    r"(?: (?:that|how)|(?! no\b)[^.!?;]{0,20} (?:who|which))\b(?![^.!?;]*\b(?:but|yet|however|though|although)\b"
    r"|[^.!?;]*, (?:it|they) )"
)
SUBJECT = r"(?<!according to )(?<!based on )(?<!\bin )(?<!\bfrom )(?<!\bby )(?<!\bon )(?<!\bof )"

# Said of the passages or of the world: only beside a context can one tell.
NEWS_OF_THE_WORLD = {
    "none was stated": ("no given", none_stated("was|were|has been|have been")),
    "it was not disclosed": (
        "not given",
        r"\b(?:was|were|has been|have been) not (?:\w+ly )?(?:disclosed|revealed|indicated|listed)"
        rf"(?:{IN_REPORT}|\W*)$",
    ),
}
WORDINGS = {  # what it is like: (the groups of words of which it holds one each, the pattern)
    "the passages do not say": (
        "source not",
        rf"{SUBJECT}{THE_SOURCE}(?! {SAYS_OTHERWISE}){CLAUSE}{DO_NOT} {gap(3)}{TELL}",
    ),
    "the passages do not do it": (
        "source not",
        rf"{SUBJECT}\b(?:the|this|these|your) {gap(2)}{PASSAGES}(?! {SAYS_OTHERWISE})"
        r"[^.!?;,]{0,60}?,? (?:do|does)(?: not|n't) ",
    ),
    "the passages say something else": (
        "source else",
        rf"{SUBJECT}{THE_SOURCE} {CLAUSE}\b(?:but (?:not|nothing)\b(?! only)"
        rf"|only \w+{CLAUSE}(?:, so\b|,? and (?:not|no|nothing)\b|, not\b)"
        rf"|(?:is|are|talks?|speaks?|deals?) (?:[\w'/-]+ ){{0,3}}?(?:about|with|of|on) {CLAUSE}, (?:and )?not\b"
        r"(?! only)"
        rf"|(?:list|cover|discuss|describe|give|mention|address|contain|show|name)s? {CLAUSE}\bonly\W*$"
        rf"|(?:is|are|seems?|appears?) (?:[\w'/-]+ ){{0,3}}?about (?:something else|(?:an)?other|a different"
        rf"|different))|\bquestion (?:asks|is)\b{CLAUSE}\b(?:but|whereas|while) {THE_SOURCE}",
    ),
    "the passages are not enough": (
        "source unclear fitting",
        rf"{THE_SOURCE}{CLAUSE}(?:(?:is|are) not|isn't|aren't) {gap(2)}"
        r"(?:clear|sufficient|enough|relevant|explicit|specific|helpful|about|related)"
        rf"|{THE_SOURCE}{CLAUSE}\b(?:is|are|seems?) (?:\w+ )?insufficient\b",
    ),
    "the passages say nothing": (
        "source lack",
        rf"{SUBJECT}{THE_SOURCE}(?! {SAYS_OTHERWISE}){CLAUSE}\b(?:lacks?\b(?! of)|omits?|fails?"
        r"|neglects?|leaves? (?:it )?open|(?:is|are) (?:silent|missing)|(?:say|stat|mention|provid|giv|contain"
        r"|includ|offer"
        r"|ha[sd]|have|hold|ma[dk]e|present|list|show|suppl|reveal|shed|carr|report|disclos|tell)\w* (?:\w+ )?"
        r"(?:no|nothing|neither|little|insufficient|limited)\b)",
    ),
    "none of them says": (
        "source none",
        rf"{SOURCE}{CLAUSE}\bnone of (?:them|these|those) {gap(1)}{TELL}",
    ),
    "no passage says": (
        "source none",
        rf"\b(?:no|none|neither|nothing|nowhere) {gap(3)}(?!information|info){SOURCE}{CLAUSE}\b{TELL}"
        rf"|\bnone of {THE_SOURCE}",
    ),
    "not said in the passages": (
        "source not",
        rf"{NOT} {gap(3)}{TELL} {gap(4)}{OUT_OF}",
    ),
    "nothing on it in the passages": (
        "source no",
        rf"\b(?:no|any|little|insufficient|enough) {gap(3)}{FACT}{CLAUSE}"
        rf"\b{OUT_OF}",
    ),
    "nothing on it is said in the passages": (
        "source no",
        rf"\b(?:no|nothing)\b{CLAUSE}\b{GIVEN}\b{CLAUSE}\b{OUT_OF}",
    ),
    "according to the passages, nothing is known": (
        "source no",
        rf"^(?:according to|as per|per|based on|from|in) {THE_SOURCE}{CLAUSE}"
        rf"(?:\b(?:there (?:is|are)|it is|it's) {gap(1)}(?:no|not|n't) {gap(2)}(?:{FACT}|known)"
        rf"|\bno {gap(2)}{FACT}{CLAUSE}"
        rf"\b(?:is|are) {gap(1)}{GIVEN})",
    ),
    "there is nothing on it": (
        "news no",
        rf"(?:(?:^{gap(4)}|\b(?:and|but) |however,? |, )there(?: is|'s| are| was| were)(?: no|(?:n't| not) (?:any"
        rf"|an?))|^no)"
        rf" (?!records?|single|simple|one|easy|universal){gap(3)}{NEWS}(?=\W*$|[,;]| (?:(?:is|are|was"
        rf"|were) )?{gap(1)}{GIVEN}\b"
        rf"| {OF_IT}(?:(?! (?:was|were|is|are|has|had|can|could|will|may|survives?) )[^.!?;])*(?:$|[.!?;]"
        rf"| (?:is|are|was|were|has been|could be|can be) {gap(1)}{GIVEN}))",
    ),
    "no mention is made": (
        "news no",
        rf"\bno {gap(1)}(?:mention|reference) is made\b(?! .*\bin (?:its|the (?!{gap(2)}{SOURCE})))",
    ),
    "nothing in the passages": (
        "nothing",
        rf"\b(?:nothing|anything) in {THE_SOURCE}|\bnothing here\b"
        rf"|\bnothing is {gap(1)}(?:said|mentioned|stated)\b",
    ),
    "no way to tell": (
        "no way",
        rf"\bno way (?:to|of) {FIND}",
    ),
    "the answer is unknown": (
        "news unclear",
        r"^(?:the )?(?:answer|information)(?: to \w+ question)?(?: is)?:? (?:unknown|unclear|not known"
        r"|not (?:in|within)\b)",
    ),
    "not stated": (
        "not given",
        rf"^(?:(?:this|that|it|the answer|(?:the )?information|answer)(?: is|'s)? )?(?:not|isn't) {gap(2)}{GIVEN}"
        rf"\b(?! (?:in|by|on|to) (?!context|{gap(4)}{SOURCE})| for (?:use|operation|service|export)\b)",
    ),
    "it is not stated": (
        "no given",
        rf"(?:{NOT} {gap(2)}(?<!was not )(?<!were not )(?<!never been )|^nothing (?:is|was) )"
        rf"(?!found|avail|answered|covered|report|includ){GIVEN}(?: (?:about|on|regarding)\b.*|{IN_REPORT}|\W*)$",
    ),
    "it was not stated": (
        "not given",
        r"\b(?:was|were) not (?:explicitly |specifically )?(?:stated|mentioned|specified|provided|given)"
        rf"(?: (?:about|on|regarding)\b.*|{IN_REPORT}|\W*)$",
    ),
    "none is stated": ("no given", none_stated("is|are")),
    "none appears": ("no given", rf"^(?:(?:so|but|and|however),? )?no {gap(4)}appears?\W*$"),
    **NEWS_OF_THE_WORLD,
    "a label": (
        "word",
        r"^[\w /'-]{1,40}: (?:n/?a|unknown|unspecified|(?:not|none) (?:stated|specified|given|available|mentioned"
        r"|provided|found|listed|known|disclosed|applicable|indicated))(?: (?:in|by|on) .*)?\W*$",
    ),
    "it is absent": (
        "news absent",
        rf"\b{NEWS}{CLAUSE}\b(?:is|are) (?:absent|missing|lacking|(?:not|n't) (?:there|here))\b"
        r"|\b(?:information|answer)\b[^.!?;]{0,80}?n't (?:there|here)\b",
    ),
    "it is left open": (
        "source left",
        rf"{THE_SOURCE}{CLAUSE}\b(?:(?:leaves?|left) (?:\w+ )?(?:out|open|un(?:said|stated|explained|answered"
        r"|clear|specified|named))|stops? short)\b"
        rf"|\b(?:left|remains?|goes) (?:un(?:said|stated|explained|answered|clear|specified)\b{CLAUSE}{OUT_OF}"
        rf"|open\b{CLAUSE}{OUT_OF})",
    ),
    "the question remains open": (
        "question left",
        rf"\bthe question (?:of|as to){CLAUSE}\bremains? open\W*$",
    ),
    "the answer is not given": (
        "news not",
        rf"\b(?:information|answer)\b(?! (?:that|which)\b){CLAUSE}\b(?:is|are|was|were)"
        rf"(?:n't| not) {gap(2)}(?:present|contained|{GIVEN})\b{NOT_TO}",
    ),
    "I cannot": (
        "I cannot",
        rf"\bi(?:'m|'ve|'d| am| was| have| had| would| must| have been)? {gap(3)}(?:{CANNOT}|(?:do|did|have|am|was"
        rf"|would|will|wo)(?: not|n't)\b{WORTH_SAYING}|not\b{WORTH_SAYING}|lack\b|have no(?:thing)?\b|had no\b"
        r"|see no(?:thing)?\b)",
    ),
    "I looked in vain": (
        "I looked no",
        r"\bi(?:'ve| have)? (?:\w+ly )?(?:looked|searched|checked|read|reviewed|went|gone|examined|scanned)\b[^.!?;]*"
        r"\b(?:but|and|yet|without)\b[^.!?;]*(?:n't|\b(?:not|no|none|nothing|neither|unable|without))\b",
    ),
    "I can only": (
        "I only",
        r"\bi(?:'m| am| can)? only (?:able|answer|have|use)\b",
    ),
    "we cannot tell": (
        "we cannot",
        rf"\bwe(?:'re|'ve| are| were| have been)? {gap(3)}(?:{CANNOT}|won't be able) {gap(4)}{FIND}",
    ),
    "we do not know": (
        "we no",
        rf"\bwe {gap(2)}(?:do|did)(?: not|n't) {gap(2)}(?:have|see|find|possess|know\W*$)\b"
        r"|\bwe (?:\w+ ){0,2}?(?:have (?:no|insufficient|nothing)|lack)\b|\bwe(?: are|'re) (?:\w+ )?not (?:sure"
        r"|certain)\b",
    ),
    "from the passages we do not know": (
        "source we not",
        rf"^(?:based|going|according|judging|from|given|with|using){CLAUSE}{SOURCE}"
        rf"{CLAUSE}\bwe (?:do not|don't|cannot|can't) (?:know|tell)\b",
    ),
    "cannot tell": (
        "unable",
        rf"^(?:{CANNOT} (?:to )?(?:be )?{FIND}(?![^.!?;]*, (?:he|she|they)\b)"
        rf"|it(?: is|'s) {CANNOT} to (?:answer|say|tell)\b(?![^.!?;]*, but\b)"
        rf"|(?:this|that|it|the answer) {CANNOT} be (?:answer|determin|infer|ascertain|verif|confirm)\w*(?=\W*$"
        rf"| from| with))",
    ),
    "it does not say": (
        "not say",
        rf"^(?:it|they|this|that) (?:\w+ )?{DO_NOT} (?:say|state|mention|specify|tell)\w*(?: \w+)?\W*$",
    ),
    "we are not told": (
        "we not",
        r"\bwe (?:(?:were|are|have) not|aren't|weren't|haven't) (?:been )?(?:given|provided|told)\b",
    ),
    "it is missing": (
        "source absent",
        rf"\b(?:missing|absent) from {THE_SOURCE}|{THE_SOURCE}{CLAUSE}\b(?:unrelated|irrelevant) to",
    ),
    "not in the passages": (
        "source not",
        rf"{NOT} (?:anywhere )?(?:in|part of|something|a detail|a topic|a question) {THE_SOURCE}",
    ),
    "it cannot be told from the passages": (
        "source unclear",
        rf"(?:{CANNOT}|{UNCLEAR}|{NOT} {gap(2)}{FIND}){CLAUSE}\b"
        rf"(?:{OUT_OF}|based (?:solely |only )?on {THE_SOURCE})",
    ),
    "from the passages it cannot be told": (
        "source unclear",
        rf"^(?:based|going|according|judging|from|given|with|using){CLAUSE}"
        rf"{SOURCE}{CLAUSE}(?:(?:{CANNOT}|{UNCLEAR}) {gap(2)}{FIND}|{UNCLEAR}"
        rf"|\b(?:is|are) not (?:\w+ly )?(?:identified|named|defined|quantified|detailed|{GIVEN})\W*$)",
    ),
    "the question cannot be answered": (
        "question",
        rf"\b(?:question|query)\b{CLAUSE}(?:\bleft\b|{CANNOT}"
        rf"|\b(?:is not|isn't|remains|goes)\b) (?:be )?{gap(2)}(?:un)?(?:answer|address|determin|cover|found)\w*\b"
        rf"(?! until| by (?!{THE_SOURCE}))",
    ),
    "unable to answer": (
        "answer unclear",
        rf"(?:{CANNOT_NOW}|(?:not enough|insufficient|too little) {gap(3)})(?: to)? (?:\w+ )?"
        r"(?:answer\b|respond to the)",
    ),
    "not enough information": (
        "enough",
        rf"(?:\b(?:not|without)|n't|\bin(?=suff|adeq))[ -]?{gap(1)}"
        rf"(?:enough|sufficient|adequate) (?:{gap(2)}{NEWS}(?! (?:is|are|was|were) \w+{TO_SOMEBODY})|to {FIND})",
    ),
    "more would be needed": (
        "more needed",
        r"\bi(?:'d| would| will) need (?:more|further|additional) "
        rf"|\b(?:more|further|additional) {gap(1)}(?:information|context|details?)"
        r" (?:is|are|would be) (?:needed|required|necessary)",
    ),
    "out of scope": (
        "source outside",
        rf"\b(?:outside|beyond|not within) (?:of )?(?:the scope of|what) {THE_SOURCE}",
    ),
    "a machine": (
        "machine",
        r"\bas an ai\b|\bunanswerable\b|\bnot answerable\b",
    ),
    "a word": (
        "word",
        r"^(?:no (?:\w+ )?(?:answer|data|info|mention|passages?)(?: \w+)?|not (?:applicable|known|sure)|n/?a|unknown"
        r"|none|no idea)\W*$",
    ),
    "sorry": (
        "sorry",
        r"^(?:(?:i am|i'm|we are|we're) (?:\w+ )?(?:sorry|afraid)|sorry[,.!]|(?:i|we) (?:do |must )?apologi[sz]e"
        r"|(?:my )?apologies)",
    ),
}

GROUPS = {
    name: frozenset(words.split())
    for name, words in {
        "source": "context contexts passage passages text texts document documents documentation article articles "
        "source"
        " sources excerpt excerpts paragraph paragraphs snippet snippets material materials content contents "
        "information"
        " info result results reference references sheet sheets datasheet datasheets table tables chart charts manual"
        " manuals extract extracts",
        "not": "not cannot never nowhere t",
        "no": "no none nothing neither nowhere not never cannot t any little insufficient enough lack",
        "cannot": "not cannot t unable impossible failed lack no nothing",
        "none": "no none neither nothing nowhere",
        "unable": "not cannot t unable impossible failed",
        "fitting": "clear clearly sufficient sufficiently enough relevant explicit explicitly specific specifically"
        " helpful about related insufficient",
        "unclear": "not cannot never nowhere t unable impossible failed unclear unknown unspecified unstated "
        "uncertain"
        " difficult hard insufficient too",
        "lack": "lack lacks omit omits fail fails neglect neglects open silent missing no nothing neither little"
        " insufficient limited",
        "else": "not no nothing so only else other another different asks question",
        "nothing": "nothing anything",
        "absent": "absent missing lacking not t unrelated irrelevant",
        "left": "leave leaves left stop stops remain remains goes",
        "outside": "outside beyond within",
        "only": "only",
        "news": "information info mention detail details data answer answers indication reference references "
        "statement"
        " discussion explanation description context specifics record records clue clues fact facts",
        "given": "stated mentioned specified provided given said disclosed found available indicated included listed"
        " discussed addressed covered answered explained described revealed reported named appears appear",
        "question": "question query",
        "answer": "answer respond",
        "way": "way",
        "say": "say says said state states stated mention mentions mentioned specify tell tells telling saying",
        "enough": "enough sufficient adequate insufficient inadequate",
        "more": "more further additional",
        "needed": "need needed required necessary",
        "I": "i",
        "we": "we",
        "machine": "ai unanswerable answerable",
        "word": "no not n na unknown unspecified none",
        "looked": "looked searched checked read reviewed went gone examined scanned",
        "sorry": "sorry afraid apologize apologise apologizes apologises apologies apologized apologised",
    }.items()
}
