"""Which spellings are one program, and which are not."""

import ast

import pytest

from tasks.engine.code.syntax import normalized


def text_of(source: str) -> str:
    return "\n".join(map(normalized, ast.parse(source).body))


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
    "a method that is marked": ("class A:\n a = 1", "class A:\n a = 1\n @not_in_key('it logs')\n def f(self): ..."),
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
    "nested function": ("def f():\n def g(): ...\n return g", "def f():\n def h(): ...\n return h"),
    "import": ("def f():\n import a\n return a", "def f():\n import b\n return b"),
    "attribute": ("def f(a): return a.b", "def f(a): return a.c"),
    "keyword": ("def f(): return g(a=1)", "def f(): return g(b=1)"),
    "which local": ("def f():\n  a = 1; b = 2\n  return a", "def f():\n  a = 1; b = 2\n  return b"),
    "a local that has no value": ("a = 0\ndef f():\n  a: int\n  return a", "a = 0\ndef f():\n  return a"),
    "local": ("def f(a):\n  b = a\n  return b", "def f(a):\n  c = a\n  return c"),
    "a mark without a reason": ("class A:\n a = 1", "class A:\n a = 1\n @not_in_key(' ')\n def f(self): ..."),
    "default": ("def f(a=1): return a", "def f(a=2): return a"),
    "decorator": ("@cache\ndef f(): ...", "def f(): ..."),
    "base": ("class A(B): ...", "class A(C): ..."),
    "order": ("def f():\n  g(); h()", "def f():\n  h(); g()"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_two_spellings_mean_the_same(one, other):
    assert text_of(one) == text_of(other)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_two_programs_do_not(one, other):
    assert text_of(one) != text_of(other)


def test_the_text_is_the_same_in_every_release_of_python():
    """Written down, so that a test run under another Python compares with this one."""
    text = "def f(a, *, b=1.5):\n  'doc'\n  for c in a:\n    g(c, x=f'{c!r:>{b}}')\n  return {**a, 'é': None}"
    assert text_of(text) == (
        "FunctionDef(name='f', args=arguments(args=[arg(arg='a')], kwonlyargs=[arg(arg='b')], "
        "kw_defaults=[Constant(value=1.5)]))[For(target=Name(id='c'), iter=Name(id='a'), body=[Expr("
        "value=Call(func=Name(id='g'), args=[Name(id='c')], keywords=[keyword(arg='x', "
        "value=JoinedStr(values=[FormattedValue(value=Name(id='c'), "
        "conversion=114, format_spec=JoinedStr(values=[Constant(value='>'), FormattedValue(value=Name(id='b'), "
        "conversion=-1)]))]))]))]), Return(value=Dict(keys=[None, Constant(value='\\xe9')], "
        "values=[Name(id='a'), Constant()]))]"
    )
