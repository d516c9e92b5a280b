"""Which spellings are one program, and which are not."""

import ast

import pytest

from tasks.engine.code.meaning import bound, meaning


def meant(text: str) -> str:
    body = ast.parse(text).body
    return "\n".join(meaning(each, bound(body)) for each in body)


SAME = {
    "quotes": ("def f(): return 'a'", 'def f(): return "a"'),
    "parentheses": ("def f(a, b): return a + b * 2", "def f(a, b): return (a + (b * 2))"),
    "line breaks": ("def f(a): return g(a, 1)", "def f(a):\n    return g(\n        a,\n        1,\n    )"),
    "underscores in numbers": ("def f(): return 1000", "def f(): return 1_000"),
    "exponents": ("def f(): return 2e-4", "def f(): return 0.0002"),
    "strings that are joined": ("def f(): return 'ab'", "def f(): return 'a' 'b'"),
    "docstring": ("def f():\n  'one'\n  return 1", "def f():\n  'two'\n  return 1"),
    "docstring of a nested class": ("def f():\n class A:\n  'one'\n  b = 1", "def f():\n class A:\n  b = 1"),
    "annotations": ("def f(a): return a", "def f(a: int) -> int: return a"),
    "annotation of a local": ("def f(a):\n  b: int = a\n  return b", "def f(a):\n  b = a\n  return b"),
    "annotation of a method": (
        "class A:\n  @property\n  def b(self): return 1",
        "class A:\n  @property\n  def b(self) -> int: return 1",
    ),
    "local": ("def f(a):\n  b = a\n  return b", "def f(a):\n  c = a\n  return c"),
    "locals that swap names": ("def f(a):\n  b = a; c = 1\n  return b", "def f(a):\n  c = a; b = 1\n  return c"),
    "comprehension": ("def f(a): return [b for b in a]", "def f(a): return [c for c in a]"),
    "walrus": ("def f(a):\n  if b := a: return b", "def f(a):\n  if c := a: return c"),
    "for": ("def f(a):\n  for b in a: g(b)", "def f(a):\n  for c in a: g(c)"),
    "with": ("def f(a):\n  with a as b: g(b)", "def f(a):\n  with a as c: g(c)"),
    "except": (
        "def f():\n try: g()\n except E as b: h(b)",
        "def f():\n try: g()\n except E as c: h(c)",
    ),
    "unpacking": ("def f(a):\n  b, *c = a\n  return c", "def f(a):\n  x, *y = a\n  return y"),
    "seen by a nested function": (
        "def f(a):\n  b = a\n  def g(): return b\n  return g",
        "def f(a):\n  c = a\n  def g(): return c\n  return g",
    ),
    "in a method": ("class A:\n def f(self):\n  b = 1\n  return b", "class A:\n def f(self):\n  c = 1\n  return c"),
}
OTHER = {
    "number": ("def f(): return 1", "def f(): return 2"),
    "1 and True": ("def f(): return 1", "def f(): return True"),
    "1 and 1.0": ("def f(): return 1", "def f(): return 1.0"),
    "0.0 and -0.0": ("def f(): return 0.0", "def f(): return -0.0"),
    "text and bytes": ("def f(): return 'a'", "def f(): return b'a'"),
    "None and nothing": ("def f(): return None", "def f(): g(None)"),
    "await": ("async def f(): return g()", "async def f(): return await g()"),
    "parameter": ("def f(a): return a", "def f(b): return b"),
    "parameter of a lambda": ("def f(): return lambda a: a", "def f(): return lambda b: b"),
    "parameter of a nested function": ("def f():\n def g(a): return a", "def f():\n def g(b): return b"),
    "nested function": ("def f():\n def g(): ...\n return g", "def f():\n def h(): ...\n return h"),
    "import": ("def f():\n import a\n return a", "def f():\n import b\n return b"),
    "attribute": ("def f(a): return a.b", "def f(a): return a.c"),
    "keyword": ("def f(): return g(a=1)", "def f(): return g(b=1)"),
    "which local": ("def f():\n  a = 1; b = 2\n  return a", "def f():\n  a = 1; b = 2\n  return b"),
    "one local or two": ("def f():\n  a = 1; a = 2\n  return a", "def f():\n  a = 1; b = 2\n  return a"),
    "global": ("def f():\n  global a\n  a = 1", "def f():\n  global b\n  b = 1"),
    "name of the module": ("a = b = 0\ndef f():\n  a = 1", "a = b = 0\ndef f():\n  b = 1"),
    "a local that hides the module's": (
        "a = 0\ndef f():\n  a = 1\n  return a",
        "a = 0\ndef f():\n  b = 1\n  return a",
    ),
    "global from elsewhere": (
        "def g():\n  global a\n  a = 1\ndef f():\n  a = 1\n  return a",
        "def g():\n  global a\n  a = 1\ndef f():\n  b = 1\n  return a",
    ),
    "builtin": ("def f():\n  list = 1\n  return list", "def f():\n  x = 1\n  return list"),
    "class attribute": ("def f():\n class A:\n  a = 1\n return A", "def f():\n class A:\n  b = 1\n return A"),
    "default that a local hides": (
        "class A:\n a = b = 1\n def f(self, c=a):\n  a = 2\n  return c",
        "class A:\n a = b = 1\n def f(self, c=b):\n  b = 2\n  return c",
    ),
    "name in an f-string": ("def f():\n  a = 1\n  return f'{a=}'", "def f():\n  b = 1\n  return f'{b=}'"),
    "locals()": ("def f():\n  a = 1\n  return locals()", "def f():\n  b = 1\n  return locals()"),
    "eval": ("def f(x):\n  a = 1\n  return eval(x)", "def f(x):\n  b = 1\n  return eval(x)"),
    "a frame": ("def f():\n  a = 1\n  return sys._getframe()", "def f():\n  b = 1\n  return sys._getframe()"),
    "capture of a pattern": (
        "def f(x):\n  match x:\n    case {'a': a}: return a",
        "def f(x):\n  match x:\n    case {'a': b}: return b",
    ),
    "a local that has no value": ("a = 0\ndef f():\n  a: int\n  return a", "a = 0\ndef f():\n  return a"),
    "default": ("def f(a=1): return a", "def f(a=2): return a"),
    "decorator": ("@cache\ndef f(): ...", "def f(): ..."),
    "base": ("class A(B): ...", "class A(C): ..."),
    "order": ("def f():\n  g(); h()", "def f():\n  h(); g()"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_two_spellings_mean_the_same(one, other):
    assert meant(one) == meant(other)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_two_programs_do_not(one, other):
    assert meant(one) != meant(other)


def test_the_text_is_the_same_in_every_release_of_python():
    """Written down, so that a test run under another Python compares with this one."""
    text = "def f(a, *, b=1.5):\n  'doc'\n  for c in a:\n    g(c, x=f'{c!r:>{b}}')\n  return {**a, 'é': None}"
    assert meant(text) == (
        "FunctionDef(name='f', args=arguments(args=[arg(arg='a')], kwonlyargs=[arg(arg='b')], "
        "kw_defaults=[Constant(value=1.5)]))[For(target=Name($0), iter=Name(a), body=[Expr(value=Call(func=Name(g), "
        "args=[Name($0)], keywords=[keyword(arg='x', value=JoinedStr(values=[FormattedValue(value=Name($0), "
        "conversion=114, format_spec=JoinedStr(values=[Constant(value='>'), FormattedValue(value=Name(b), "
        "conversion=-1)]))]))]))]), Return(value=Dict(keys=[None, Constant(value='\\xe9')], "
        "values=[Name(a), Constant()]))]"
    )
