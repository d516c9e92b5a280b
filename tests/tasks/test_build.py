"""Building a dataset from triplets, with a real tokenizer: who is on which side, what is cut, what is packed."""

import json
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.build import BuildConfig, build
from tasks.data.dataset.encode import fit
from tasks.data.dataset.folder import load
from tasks.data.dataset.near_duplicates import NearDuplicates, jaccard
from tasks.data.dataset.packing import best_fit_decreasing, pack
from tasks.data.dataset.sketch import SHINGLES, SPLIT_OFF, Documents, Sketch, place, shingles, sketch
from tasks.data.dataset.split import SIDES, split
from tasks.data.identity import document_of, normal
from tasks.data.triplets import Triplet, TripletWriter, read_triplets
from tasks.engine.code.reach import code_of
from tasks.engine.errors import UserError
from tasks.engine.key import installed
from tasks.models.model import load_tokenizer
from tasks.prompts import Asked, Prompt
from tests.tasks.tiny import COURSE, toy_base

REFUSAL = "Not stated in the sheet."


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def prompt(base):
    return Prompt.load(COURSE, load_tokenizer(base), REFUSAL)


def sheet(i: int, **changes: object) -> Triplet:
    """Row i, from document i // 2, with its answer in the first passage and a distractor behind it."""
    row = Triplet(
        id=f"row-{i}",
        document=f"P-{i // 2}",
        query=f"How much does P-{i // 2} take?",
        context=(f"P-{i // 2} takes {i} litres of oil grade {i * 7}.", f"The belt of Q-{i} is {i} mm wide."),
        answer=f"{i} litres",
        gold=(0,),
        value=f"{i} litres",
    )
    return row._replace(**changes)


def refusing(i: int) -> Triplet:
    return sheet(i, answer=REFUSAL, gold=(), value=None, refusal=True)


ROWS = [refusing(i) if i % 4 == 3 else sheet(i) for i in range(60)]
QUESTIONS = [sheet(i) for i in range(1000, 1010)] + [refusing(1010)]


def validated(folder: Path, rows: Sequence[Triplet]) -> Path:
    folder.mkdir()
    with TripletWriter(folder / "rows.arrow", REFUSAL) as writer:
        for row in rows:
            writer.add(row)
    return folder


def built(folder: Path, base: Path, rows: Sequence[Triplet], evaluation: Sequence[Triplet] | None = None, **config):
    folder.mkdir()
    out = folder / "out"
    out.mkdir()
    build(
        BuildConfig(**{"max_tokens": 512, "prompt": COURSE, **config}),
        rows=validated(folder / "rows", rows),
        evaluation=validated(folder / "evaluation", evaluation) if evaluation else None,
        base=base,
        out=out,
    )
    return out


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def learnt(folder: Path, tokenizer) -> list[tuple[str, str]]:
    """Each row in a packed dataset as text: all of it, and the part with a loss."""
    rows = []
    for sequence in load(folder):
        start = 0
        for length in sequence["seq_lengths"]:
            ids = sequence["input_ids"][start : start + length]
            labels = sequence["labels"][start : start + length]
            start += length
            silent = labels.count(-100)
            assert labels == [-100] * silent + ids[silent:]
            rows.append((tokenizer.decode(ids), tokenizer.decode(ids[silent:])))
        assert start == len(sequence["input_ids"]) == len(sequence["labels"])
    return rows


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def left_out(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("packing", [True, False])
def test_every_row_is_on_one_side_whole_with_the_loss_on_its_answer_alone(tmp_path, base, prompt, packing):
    out = built(tmp_path / "a", base, ROWS, packing=packing)
    tokenizer = load_tokenizer(base)
    evaluated = list(read_triplets(out / "evaluation"))
    train, heldout = learnt(out / "train", tokenizer), learnt(out / "heldout", tokenizer)
    expected = [row for row in ROWS if row not in evaluated]
    assert evaluated and train and heldout
    assert sorted(train + heldout) == sorted(
        (prompt.render(row.asked, row.answer), f" {row.answer}</s>") for row in expected
    )
    counts = report(out)
    assert counts["rows"] == {"train": len(train), "heldout": len(heldout), "evaluation": len(evaluated)}
    assert counts["refusals"]["evaluation"] == sum(row.refusal for row in evaluated)
    assert sum(counts["refusals"].values()) == sum(row.refusal for row in ROWS)
    assert sum(counts["documents"].values()) == 30
    assert len({row.document for row in evaluated} | {row.document for row in expected}) == 30
    assert not {row.document for row in evaluated} & {row.document for row in expected}


def test_the_trainers_collator_restarts_positions_at_every_row(tmp_path, base):
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    out = built(tmp_path / "a", base, ROWS)
    rows = [load(out / "train")[i] for i in range(2)]
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(rows)
    lengths = rows[0]["seq_lengths"] + rows[1]["seq_lengths"]
    assert len(lengths) > 2
    assert batch["position_ids"][0].tolist() == [p for length in lengths for p in range(length)]
    assert batch["cu_seq_lens_q"].diff().tolist() == lengths


def test_the_same_rows_give_the_same_bytes(tmp_path, base):
    first = built(tmp_path / "a", base, ROWS, QUESTIONS)
    assert digests(built(tmp_path / "b", base, ROWS, QUESTIONS)) == digests(first)
    assert digests(built(tmp_path / "c", base, ROWS, QUESTIONS, seed=1)) != digests(first)


def test_nothing_is_written_but_what_the_steps_after_it_read(tmp_path, base):
    out = built(tmp_path / "a", base, ROWS, QUESTIONS)
    dataset = ["00000.arrow", "dataset_info.json", "sequences.arrow", "state.json"]
    sketches = {name for name in digests(out) if name.startswith("sketches/")}
    assert len(sketches) == 2
    assert set(digests(out)) - sketches == {
        "evaluation/00000.arrow",
        "parts.json",
        "vocabulary/rest.json",
        "vocabulary/tokenizer.json",
        "quarantine.jsonl",
        "report.json",
        "report.md",
        *(f"{side}/{name}" for side in ("train", "heldout") for name in dataset),
    }


@pytest.mark.parametrize("evaluation", [QUESTIONS, None])
def test_editing_a_training_row_leaves_the_evaluation_rows_bytes_as_they_were(tmp_path, base, evaluation):
    first = built(tmp_path / "a", base, ROWS, evaluation)
    evaluated = {row.id for row in read_triplets(first / "evaluation")}
    edited = [row if row.id in evaluated else row._replace(query="How many?", answer="Many.") for row in ROWS]
    second = built(tmp_path / "b", base, [*edited, sheet(0, id="one more")], evaluation)
    assert digests(first / "evaluation") == digests(second / "evaluation")
    assert digests(first / "train") != digests(second / "train")


def test_a_source_of_evaluation_rows_is_evaluated_whole_and_its_documents_leave_the_training_rows(tmp_path, base):
    out = built(tmp_path / "a", base, [*ROWS, sheet(1002, id="leaky")], QUESTIONS)
    assert list(read_triplets(out / "evaluation")) == QUESTIONS
    assert [(row["id"], row["rule"]) for row in left_out(out)] == [("leaky", "leak")]
    counts = report(out)
    assert counts["rows"]["train"] + counts["rows"]["heldout"] == len(ROWS)
    assert counts["left_out"] == {"leak": 1, "near_duplicate": 0, "overflow": 0}


def sides_of(names, *, shards: int = 1, evaluation=None, salt: str = "salt") -> dict[str, str]:
    """Which side each document is on, with the documents in so many shards."""

    def documents(some) -> Documents:
        places = [[place(name, side, salt) for side in SPLIT_OFF] for name in some]
        hashes = [int(sha256(name.encode()).hexdigest()[:16], 16) for name in some]
        none = np.zeros(0, np.uint64)
        return Documents(np.array(hashes, np.uint64), np.array(places).reshape(-1, 2), none, none, none)

    names = sorted(names)
    cut = [names[i::shards] for i in range(shards)]
    known = None if evaluation is None else [documents(sorted(evaluation))]
    found = split([documents(some) for some in cut], evaluation_share=0.2, heldout_share=0.2, evaluation=known)
    return {n: SIDES[side] for some, sides in zip(cut, found, strict=True) for n, side in zip(some, sides, strict=True)}


documents = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=40)


@given(documents, documents, st.integers(1, 3))
def test_no_document_changes_sides_when_others_are_added(some, more, shards):
    before, after = sides_of(some), sides_of(some | more, shards=shards)
    moved = [document for document in some if before[document] != after[document]]
    assert len(moved) <= 2  # those that filled a side that was empty
    alone = [side for side in ("train", "heldout", "evaluation") if [before[d] for d in some].count(side) == 1]
    assert all(before[document] in alone for document in moved)
    assert {"evaluation", "train"} <= {before[document] for document in some} <= {"train", "heldout", "evaluation"}


def test_the_shares_are_about_as_asked_and_the_salt_draws_anew():
    names = [f"P-{i}" for i in range(4000)]
    sides, other = sides_of(names), sides_of(names, salt="pepper")
    assert 0.18 < list(sides.values()).count("evaluation") / 4000 < 0.22
    assert 0.14 < list(sides.values()).count("heldout") / 4000 < 0.18
    assert sum(sides[name] == "evaluation" == other[name] for name in names) < 240
    without = sides_of(names, evaluation=["P-7"])
    assert without["P-7"] == "leak"
    assert not [name for name in names if without[name] == "heldout" and sides[name] == "train"]


def unnamed(i: int, *passages: str, **changes: object) -> Triplet:
    """A row that names no document."""
    row = sheet(i, context=passages, gold=None, answer=passages[0], **changes)
    return row._replace(document=document_of(map(normal, passages)))


def passages_learnt(out: Path, base: Path, passages: set[str]) -> set[str]:
    texts = [text for side in ("train", "heldout") for text, _ in learnt(out / side, load_tokenizer(base))]
    return {passage for passage in passages if any(passage in text for text in texts)}


def test_rows_without_a_document_that_share_passages_are_on_one_side(tmp_path, base):
    """Each passage is the answer of one row and beside that of the next, in 30 rings of three."""
    rings = [[f"Valve {ring}-{i} opens at {ring * 7 + i} bar." for i in range(3)] for ring in range(30)]
    rows = [unnamed(3 * n + i, ring[i], ring[(i + 1) % 3]) for n, ring in enumerate(rings) for i in range(3)]
    out = built(tmp_path / "a", base, rows)
    evaluated = list(read_triplets(out / "evaluation"))
    counts = report(out)
    assert sum(counts["rows"].values()) == 90 and counts["passages_dropped"] == 0  # nothing is lost
    assert len(evaluated) % 3 == 0 and 3 <= len(evaluated) <= 45
    assert not passages_learnt(out, base, {passage for row in evaluated for passage in row.context})


@pytest.mark.parametrize("apart", [True, False])
def test_passages_that_are_retrieved_for_everything_leave_the_training_rows_of_unnamed_documents(tmp_path, base, apart):
    """All rows hang together by distractors: sides go by what answers come from, and training loses the others."""
    halls = [f"Hall {n} keeps {n * 3} carts." for n in range(20)]
    notes = [f"Stair {n} is shut on day {n}." for n in range(12)]
    rows = [unnamed(i, halls[i % 20], notes[i % 12], notes[(5 * i + 1) % 12]) for i in range(80)]
    asked = [row for row in rows if row.context[0] in halls[:4]] if apart else None
    out = built(tmp_path / "a", base, [row for row in rows if row not in (asked or ())], asked)
    evaluated = list(read_triplets(out / "evaluation"))
    held = {passage for row in evaluated for passage in row.context}
    about = {row.context[0] for row in evaluated}
    assert evaluated and not passages_learnt(out, base, held)
    assert passages_learnt(out, base, set(halls)) == set(halls) - about
    assert report(out)["left_out"]["leak"] == 0 and report(out)["passages_dropped"] > 40


def test_a_training_row_about_a_passage_of_an_evaluation_row_is_left_out(tmp_path, base):
    questions = [sheet(1000), sheet(1002)]  # of documents with names
    out = built(
        tmp_path / "a", base, [*ROWS, unnamed(70, questions[0].context[1]), unnamed(71, "It is 9 m.")], questions
    )
    assert [row["id"] for row in left_out(out)] == ["row-70"]


def test_rows_of_a_single_document_cannot_be_split(tmp_path, base):
    with pytest.raises(UserError, match="one document"):
        built(tmp_path / "a", base, [sheet(0), sheet(1)])


def test_one_document_to_train_on_holds_none_out(tmp_path, base):
    out = built(tmp_path / "a", base, [sheet(0), sheet(1)], QUESTIONS)
    assert len(load(out / "heldout")) == 0
    assert report(out)["rows"]["train"] == 2


def test_no_usable_row_is_an_error_that_counts_the_reasons(tmp_path, base):
    with pytest.raises(UserError, match="no row is left to train on; left out: 11 leak"):
        built(tmp_path / "a", base, QUESTIONS, QUESTIONS)
    with pytest.raises(UserError, match="no row is left to train on; left out: 71 overflow"):
        built(tmp_path / "b", base, ROWS, QUESTIONS, max_tokens=40, max_overflow_share=1)


def test_a_limit_that_most_rows_do_not_fit_is_refused_with_what_they_need(tmp_path, base):
    with pytest.raises(UserError, match="71 of 71 rows do not fit build.max_tokens 40.*half of those need more than"):
        built(tmp_path / "a", base, ROWS, QUESTIONS, max_tokens=40)


def test_a_context_that_is_nearly_an_evaluation_rows_is_dropped_or_reported(tmp_path, base):
    words = [f"word{i}" for i in range(100)]
    original = " ".join(words)
    near = " ".join(["Other", *words[1:]])
    somewhat = " ".join("other" if i % 20 == 0 else word for i, word in enumerate(words))
    rows = [*ROWS, sheet(300, context=(near,)), sheet(302, context=(somewhat,))]
    out = built(tmp_path / "a", base, rows, [*QUESTIONS, sheet(2000, context=(original,))], max_tokens=2048)
    assert [(row["id"], row["rule"]) for row in left_out(out)] == [("row-300", "near_duplicate")]
    (example,) = report(out)["similar"]["examples"]
    assert (example["id"], example["evaluation_id"]) == ("row-302", "row-2000")
    assert 0.5 < example["jaccard"] < 0.8


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), min_size=1, max_size=5), st.randoms())
def test_similarity_is_the_jaccard_index_of_word_5_grams(texts, random):
    def grams(words: list[str]) -> set:
        return {tuple([*words, *[""] * 5][i : i + 5]) for i in range(len(words) + 1)}

    other = [random.choice(texts)[random.randrange(3) :] + ["g"] for _ in range(4)]
    held, asked = (
        sketched([" ".join(words) for words in texts]),
        sketched([", ".join(words).upper() for words in other]),
    )
    index = NearDuplicates([(held, np.ones(len(texts), bool))])
    found = {number: (similarity, row) for number, similarity, row in index.near(asked, 0.5)}
    for number, words in enumerate(other):
        exact = [len(grams(words) & grams(text)) / len(grams(words) | grams(text)) for text in texts]
        if max(exact) >= 0.5:
            similarity, row = found[number]
            assert similarity == pytest.approx(max(exact), abs=0.001) == pytest.approx(exact[row], abs=0.001)
        else:
            assert number not in found


def test_of_long_contexts_similarity_is_close_and_near_ones_are_found():
    words = [f"word{i}" for i in range(400)]
    held = sketched([" ".join(words)])
    for changed in (10, 25, 60):
        other = " ".join("other" if i % (400 // changed) == 0 else word for i, word in enumerate(words))
        exact = len(set(shingles([other])[0]) & set(shingles([" ".join(words)])[0])) / len(
            set(shingles([other])[0]) | set(shingles([" ".join(words)])[0])
        )
        found = NearDuplicates([(held, np.ones(1, bool))]).near(sketched([other]), 0.0)
        assert exact < 0.3 or abs(found[0][1] - exact) < 0.11  # three standard deviations


OF_ANY_SCRIPT = {  # a text, a word of it, another word in its place, and a text about something else
    "Japanese": (
        "灯台の上には三つの部屋があり、見張りは交代で夜を過ごします。燈りは日が沈むと点き、夜明けまで消えません。"
        "水曜日には油が船で運ばれ、階段の下の倉に納められます。見学は夏の間だけで、一度に八人まで上がれます。",
        "水曜日",
        "金曜日",
        "港の市場では朝早くから魚が売られ、昼前にはもう誰もいません。氷は隣の工場から来ます。",
    ),
    "Thai": (
        "โรงสีเก่าริมคลองหมุนด้วยน้ำตลอดปี และมีห้องเก็บข้าวสองห้องอยู่ด้านหลัง ชาวนานำข้าวมาในวันจันทร์และรับกลับในวันถัดไป",
        "วันจันทร์",
        "วันศุกร์",
        "เรือข้ามฟากออกทุกครึ่งชั่วโมงจากท่าใหญ่ ถ้าฝนตกหนักเรือจะหยุดจนกว่าลมจะสงบ",
    ),
    "Russian": (
        "На втором этаже мастерской стоят шесть станков, и у каждого есть свой номер. Заготовки приносят утром, а "
        "готовые детали складывают в ящики у северной двери. По средам станки чистят, поэтому работа начинается позже.",
        "средам",
        "субботам",
        "Паром через залив ходит каждые полчаса, пока не поднимется ветер. Билеты продают на пристани и на борту.",
    ),
    "Greek": (
        "Ο παλιός μύλος πίσω από την εκκλησία γυρίζει με νερό όλο τον χρόνο, και δίπλα του είναι δύο αποθήκες. "
        "Κάθε Δευτέρα οι αγρότες φέρνουν το σιτάρι τους, και την επόμενη ημέρα παίρνουν το αλεύρι με το κάρο.",
        "Δευτέρα",
        "Πέμπτη",
        "Το πλοίο φεύγει κάθε μισή ώρα από το μεγάλο λιμάνι. Όταν φυσάει δυνατά, μένει δεμένο.",
    ),
}


@pytest.mark.parametrize("script", OF_ANY_SCRIPT)
def test_near_duplicates_are_found_in_any_script(script):
    text, word, other, else_ = OF_ANY_SCRIPT[script]
    assert word in text
    index = NearDuplicates([(sketched([text]), np.ones(1, bool))])
    found = index.near(sketched([text.replace(word, other), else_]), 0.1)
    assert [number for number, _, _ in found] == [0] and found[0][1] >= 0.7


@pytest.mark.parametrize("language", ["zh", "ja", "ru", "hi"])
def test_of_a_row_that_is_cut_the_passage_that_answers_stays(prompt, language):
    answer, passage = {
        "zh": ("钥匙在门卫那里。", "仓库的钥匙白天由门卫保管，晚上交给值班的人。"),
        "ja": ("鍵は守衛が持っています。", "倉庫の鍵は昼の間は守衛が持ち、夜は当番に渡します。"),
        "ru": ("Ключ хранится у сторожа.", "Ключ от склада днём хранится у сторожа, а ночью у дежурного."),
        "hi": ("चाबी चौकीदार के पास है।", "गोदाम की चाबी दिन में चौकीदार के पास रहती है और रात में दूसरे आदमी के पास।"),
    }[language]
    others = [
        "The pump is red. " * 20,
        "二十艘船停在港口。" * 9,
        "Лодки стоят у причала. " * 9,
        "नावें घाट पर खड़ी हैं। " * 9,
    ]
    context = (*others, passage)
    row = sheet(1, query="?", context=context, answer=answer, gold=None, value=None)
    whole = len(prompt.encode(Asked(context, "?"))[0])
    (kept,) = fit([row], prompt, limit=whole - 300).rows
    assert passage in kept.context and len(kept.context) < len(context)


@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.5, 0.8]))
def test_the_nearest_is_found_as_if_all_were_compared(seed, at_least):
    random = np.random.default_rng(seed)
    held, asked = made_up(random, 30), made_up(random, 30, like=seed % 2)
    found = {
        n: (similarity, row) for n, similarity, row in NearDuplicates([(held, np.ones(30, bool))]).near(asked, at_least)
    }
    sets = [np.split(each.shingles, each.ends[:-1]) for each in (asked, held)]
    for number, own in enumerate(sets[0]):
        every = [jaccard(own, other) for other in sets[1]]
        nearest = (round(max(every), 3), int(np.argmax(every)))
        assert found.get(number) == (nearest if max(every) >= at_least else None)


def made_up(random: np.random.Generator, count: int, like: int = 0) -> Sketch:
    """Contexts of up to 128 shingles, many of them boilerplate that most contexts share."""
    base = np.random.default_rng(like).permutation(400).astype(np.uint32)
    sets = []
    for size in random.integers(1, SHINGLES + 1, count):
        own = base[: size * 3 // 4] if random.random() < 0.7 else random.permutation(400).astype(np.uint32)[:size]
        sets.append(np.unique(np.append(own, random.integers(0, 400, size - min(size, len(own))))).astype(np.uint32))
    rows = np.arange(count, dtype=np.uint32)
    ends = np.cumsum([each.size for each in sets])
    none = np.zeros(0)
    return Sketch(rows, rows, rows, none, np.zeros((0, 2)), none, none, none, np.concatenate(sets), ends)


def sketched(contexts: list[str]) -> Sketch:
    """The sketch of rows with these contexts."""
    with tempfile.TemporaryDirectory() as folder:
        path = validated(Path(folder) / "rows", [sheet(i, context=(text,)) for i, text in enumerate(contexts)])
        files, _ = sketch((path / "rows.arrow").read_bytes(), [], "salt")
        (path / "sketch.npz").write_bytes(files["sketch"])
        return Sketch.read(path / "sketch.npz")


passages = st.lists(st.integers(1, 60).map(lambda n: "word " * n), min_size=1, max_size=6)


@given(passages, st.data())
def test_overflow_drops_the_last_distractors_first_and_nothing_else(prompt, texts, data):
    gold = tuple(sorted(data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1, max_size=2))))
    context = tuple(f"{i}: {text}" for i, text in enumerate(texts))
    row = sheet(1, context=context, gold=gold, refusal=data.draw(st.booleans()))
    limit = data.draw(st.integers(100, 900))
    short = sheet(2, context=("Two.",))
    fitted = fit([row, short], prompt, limit=limit)
    must_stay = {0} if row.refusal else set(gold)

    def tokens(kept: list[int]) -> int:
        before, after = prompt.encode(row.asked._replace(passages=[context[i] for i in kept]), row.answer)
        return len(before) + len(after)

    if fitted.too_long:
        assert fitted.rows == [short]
        assert fitted.too_long[0].row == row and fitted.too_long[0].tokens == tokens(sorted(must_stay)) > limit
        return
    kept = [context.index(text) for text in fitted.rows[0].context]
    assert kept == sorted(kept) and must_stay <= set(kept)
    assert fitted.prompts.lengths[0] + fitted.completions.lengths[0] == tokens(kept) <= limit
    assert fitted.rows[0].answer == row.answer
    if not row.refusal:
        assert [fitted.rows[0].context[i] for i in fitted.rows[0].gold] == [context[i] for i in gold]
    gone = [i for i in range(len(context)) if i not in kept]
    if gone:
        assert gone == [i for i in range(gone[0], len(context)) if i not in must_stay]
        assert tokens(sorted([*kept, gone[0]])) > limit  # not one more than must be
    assert fitted.passages_dropped == len(gone)


def test_without_gold_the_passages_that_hold_the_answer_stay(prompt):
    filler = "Nothing of interest stands in this passage at all, but it is long. " * 4
    context = (filler, "The pump takes 40 litres.", filler, "Its oil is Mobil DTE 25.", filler)
    row = sheet(1, context=context, gold=None, answer="40 litres of Mobil DTE 25")
    (kept,) = fit([row], prompt, limit=200).rows
    assert kept.context == (context[1], context[3])
    (unsure,) = fit([row._replace(answer="Yes, it is.")], prompt, limit=200).too_long
    assert unsure.tokens > 200


def test_a_row_too_long_with_its_evidence_alone_is_named_with_its_tokens(tmp_path, base):
    long = sheet(500, context=("word " * 400,))
    out = built(tmp_path / "a", base, [*ROWS, long], QUESTIONS)
    (entry,) = left_out(out)
    assert (entry["id"], entry["document"], entry["rule"]) == ("row-500", "P-250", "overflow")
    assert "of 512" in entry["value"] and "build.max_tokens" in entry["remedy"]


def test_an_evaluation_prompt_leaves_room_for_an_answer(tmp_path, base, prompt):
    long = sheet(2000, context=("The answer.", *(f"{i} word word word word" for i in range(20))))
    out = built(tmp_path / "a", base, ROWS, [*QUESTIONS, long], answer_room=100)
    row = list(read_triplets(out / "evaluation"))[-1]
    tokens = len(prompt.encode(row.asked)[0])
    assert row.gold == (0,) and 512 - 100 - 40 < tokens <= 512 - 100
    assert report(out)["passages_dropped"] == len(long.context) - len(row.context)


@given(st.lists(st.integers(1, 100), max_size=200), st.integers(0, 9))
def test_packing_keeps_every_row_once_and_every_sequence_within_its_length(lengths, seed):
    array = np.array(lengths, np.int64)
    packed = pack(array, 100, packing=True, seed=seed)
    bins = [bin_.tolist() for bin_ in np.split(packed.rows, packed.ends[:-1])] if lengths else []
    assert sorted(row for bin_ in bins for row in bin_) == list(range(len(lengths)))
    fill = [sum(lengths[row] for row in bin_) for bin_ in bins]
    assert all(0 < tokens <= 100 for tokens in fill)
    assert sum(2 * tokens <= 100 for tokens in fill) <= 1  # two half-empty ones would have been one
    again = pack(array, 100, packing=True, seed=seed)
    assert np.array_equal(packed.rows, again.rows) and np.array_equal(packed.ends, again.ends)


@given(st.lists(st.integers(1, 30), max_size=60))
def test_packing_is_best_fit_decreasing(lengths):
    """As one row after the other, the longest first, into the fullest sequence that takes it."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else 30) - length)
    packed = best_fit_decreasing(np.array(lengths, np.int64), 30)
    filled = [sum(lengths[row] for row in rows) for rows in np.split(packed.rows, packed.ends[:-1])] if lengths else []
    assert sorted(30 - tokens for tokens in filled) == sorted(rooms)


def test_the_longest_row_comes_first_and_of_equal_ones_the_earlier():
    lengths = np.array([50, 3, 48, 53, 53, 4, 41, 23, 20, 52, 49])
    packed = best_fit_decreasing(lengths, 100)
    assert [rows.tolist() for rows in np.split(packed.rows, packed.ends[:-1])] == [
        [3, 7, 8, 5],
        [4, 6, 1],
        [9, 2],
        [0, 10],
    ]


def test_the_report_shows_lengths_as_a_histogram(tmp_path, base):
    out = built(tmp_path / "a", base, ROWS, QUESTIONS)
    counts, page = report(out), (out / "report.md").read_text()
    assert sum(bar["rows"] for bar in counts["lengths"]["histogram"]) == counts["rows"]["train"]
    assert counts["lengths"]["percentiles"]["p100"] <= counts["lengths"]["histogram"][-1]["up_to"]
    assert counts["tokens"]["prompt"] + counts["tokens"]["answer"] == counts["tokens"]["total"]
    assert "xychart-beta" in page and f"{counts['tokens']['total']:,} tokens" in page


def sharded(folder: Path, shards: Sequence[Sequence[Triplet]], gone: dict[str, list[int]] | None = None) -> Path:
    """A folder of triplets in several files, as `validate` writes it."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(shards):
        with TripletWriter(folder / f"{number:05}.arrow", REFUSAL) as writer:
            for row in rows:
                writer.add(row)
    if gone:
        (folder / "left_out.json").write_text(json.dumps(gone))
    return folder


def test_rows_that_validate_left_out_are_on_no_side(tmp_path, base):
    rows = sharded(tmp_path / "rows", [ROWS[:30], ROWS[30:]], {"00001.arrow": [0, 2]})
    asked = validated(tmp_path / "asked", QUESTIONS)
    (tmp_path / "out").mkdir()
    config = BuildConfig(max_tokens=512)
    build(config, rows=rows, evaluation=asked, base=base, out=tmp_path / "out")
    assert sum(report(tmp_path / "out")["rows"].values()) == len(ROWS) + len(QUESTIONS) - 2


class Counting:
    """Spreads work in this process, and notes which functions had to run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self, function, calls, *, name):
        for call in calls:
            self.ran.append(name)
            yield function(*call)


CHANGES = {
    "a row of a shard": lambda rows, asked: ([rows[0], [*rows[1][:-1], sheet(501)], *rows[2:]], asked),
    "a new shard": lambda rows, asked: ([*rows, [sheet(i) for i in range(600, 620)]], asked),
    "an evaluation row": lambda rows, asked: (rows, [[*asked[0], sheet(1020)]]),
    "a leak": lambda rows, asked: (rows, [[*asked[0], sheet(0)]]),
    "a shard gone": lambda rows, asked: ([rows[0], *rows[2:]], asked),
}
ENCODED = {"a row of a shard": 1, "a new shard": 1, "an evaluation row": 1, "a leak": 2, "a shard gone": 0}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_encodes_the_shards_it_touches_and_ends_as_a_cold_run_does(tmp_path, base, change):
    shards, asked = [ROWS[i : i + 15] for i in range(0, 60, 15)], [QUESTIONS]

    def run(name: str, rows, questions, **more) -> Path:
        out = tmp_path / name / "out"
        out.mkdir(parents=True)
        places = {"rows": tmp_path / name / "rows", "evaluation": tmp_path / name / "asked"}
        config = BuildConfig(max_tokens=512)
        sharded(places["rows"], rows), sharded(places["evaluation"], questions)
        build(config, **places, base=base, out=out, **more)
        return out

    first = run("first", shards, asked)
    payload = {"code": code_of("tasks.build", "build"), "libraries": installed(build.libraries)}
    (first / "record.json").write_text(json.dumps({"payload": payload}))
    counting = Counting()
    changed = CHANGES[change](shards, asked)
    warm = run("warm", *changed, earlier=[first], mapper=counting)
    assert counting.ran.count("encode") == ENCODED[change]
    assert digests(warm) == digests(run("cold", *changed))


def test_turns_of_one_conversation_are_on_one_side_and_never_on_two(tmp_path, base):
    """Each turn about another document, as its name or its passages have it."""
    turns = [(("user", f"Which pump is in hall {i}?"), ("assistant", f"P-{i}, of course.")) for i in range(40)]
    rows = []
    for i, (asked, said) in enumerate(turns):
        first = Triplet(f"a{i}", f"A-{i}", asked[1], (f"Hall {i} has the pump P-{i}.",), said[1])
        rows += [first, Triplet(f"b{i}", f"B-{i}", "What is it for?", (f"P-{i} cools mill {i}.",), f"Mill {i}.")]
        rows[-1] = rows[-1]._replace(history=(asked, said))
    out = built(tmp_path / "split", base, rows)
    held = {row.id for row in read_triplets(out / "evaluation")}
    assert held == {kind + id_[1:] for id_ in held for kind in "ab"}
    asked = [row for row in rows if row.id in ("b3", "a7")]
    out = built(tmp_path / "given", base, rows, asked)
    left_out = [json.loads(line) for line in (out / "quarantine.jsonl").open()]
    assert {(each["id"], each["rule"]) for each in left_out} == {(id_, "leak") for id_ in ("a3", "b3", "a7", "b7")}


def test_of_too_many_refusals_or_too_few_the_others_are_left_out(tmp_path, base):
    """A quarter of the rows refuses, or fewer where some of either kind were held out."""
    for share in (0.1, 0.5, 0.0):
        out = built(tmp_path / str(share), base, ROWS, refusal_share=share)
        counts, rows = report(out), learnt(out / "train", load_tokenizer(base))
        refusals = sum(REFUSAL in answer for _, answer in rows)
        assert counts["rows"]["train"] == len(rows) and counts["refusals"]["train"] == refusals
        assert abs(refusals - share * len(rows)) <= 1
        sides = sum(counts["rows"].values())
        assert sides + counts["left_out"]["refusal_share"] == len(ROWS)
    plain = report(built(tmp_path / "plain", base, ROWS))
    assert "refusal_share" not in plain["left_out"]


def talk(i: int, turns: int) -> tuple[tuple[str, str], ...]:
    """So many questions and answers, which no other conversation has."""
    said = (
        ("user", f"Which pump is in hall {i}?"),
        ("assistant", f"P-{i}."),
        ("user", "By whom?"),
        ("assistant", "KSB."),
    )
    return said[: 2 * turns]


def test_earlier_answers_are_learnt_where_the_loss_is_on_turns(tmp_path, base):
    rows = [sheet(i)._replace(history=talk(i, i % 3)) for i in range(30)]
    tokenizer = load_tokenizer(base)
    found = {}
    for loss in ("answer", "turns"):
        out = built(tmp_path / loss, base, rows, loss_on=loss, packing=False)
        found[loss] = list(load(out / "train"))
    for one, other in zip(found["answer"], found["turns"], strict=True):
        assert one["input_ids"] == other["input_ids"]
        more = [b for a, b in zip(one["labels"], other["labels"], strict=True) if a == -100 and b != -100]
        text = tokenizer.decode(one["input_ids"])
        halls = [i for i in range(30) if f"hall {i}?" in text]
        said = talk(halls[0], text.count("[INST]") - 1)[1::2] if halls else ()
        assert tokenizer.decode(more) == "".join(f" {each}</s>" for _, each in said)
        assert [b for a, b in zip(one["labels"], other["labels"], strict=True) if a != -100 and a != b] == []


def test_the_oldest_turns_go_first_where_a_conversation_is_too_long_and_are_counted(tmp_path, base, prompt):
    rows = [sheet(i)._replace(history=talk(i, 2)) for i in range(30)]
    limit = int(prompt.encode_prompts([rows[0].asked]).lengths[0]) + 23
    (kept,) = fit([rows[0]], prompt, limit=limit, room=24).rows
    assert kept.history == rows[0].history[2:] and kept.context == rows[0].context
    out = built(tmp_path / "out", base, rows, max_tokens=limit, answer_room=24)
    assert report(out)["turns_dropped"] >= 2
    assert len(learnt(out / "train", load_tokenizer(base))) == report(out)["rows"]["train"]
