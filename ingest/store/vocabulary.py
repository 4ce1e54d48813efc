"""Which names a reader's statement may use beside those of views: functions, formats, types. Judges nothing."""

import re
from importlib.resources import files


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Table functions that only count.
TABLE_FUNCTIONS = _names("generate_series generateseries numbers numbers_mt values zeros zeros_mt")
# Formats that only write out what they are given: none reads a schema or a template.
FORMATS = _names("""
    Arrow ArrowStream CSV CSVWithNames CSVWithNamesAndTypes CustomSeparated HTML JSON JSONColumns
    JSONColumnsWithMetadata JSONCompact JSONCompactColumns JSONCompactEachRow JSONCompactEachRowWithNames
    JSONCompactEachRowWithNamesAndTypes JSONCompactStrings JSONCompactStringsEachRow
    JSONCompactStringsEachRowWithNames JSONCompactStringsEachRowWithNamesAndTypes JSONEachRow
    JSONEachRowWithProgress JSONLines JSONObjectEachRow JSONStrings JSONStringsEachRow LineAsString Markdown MsgPack
    NDJSON Native Null Parquet Pretty PrettyCompact PrettyCompactMonoBlock PrettyCompactNoEscapes PrettyJSONEachRow
    PrettyMonoBlock PrettyNoEscapes PrettyNDJSON PrettySpace RawBLOB RowBinary RowBinaryWithNames
    RowBinaryWithNamesAndTypes TSKV TSV TSVRaw TSVWithNames TSVWithNamesAndTypes TabSeparated TabSeparatedRaw
    TabSeparatedWithNames TabSeparatedWithNamesAndTypes Values Vertical XML
""")
TYPES = _names("""
    array bool date date32 datetime datetime32 datetime64 decimal decimal32 decimal64 decimal128 decimal256 enum
    enum8 enum16 fixedstring json lowcardinality map nested nullable time64 tuple uuid variant
""")
# Words that may stand before a parenthesis and call nothing.
WORDS = _names("""
    all and any as asc between by case columns cross cube desc describe distinct else end except exists extract fill
    final for from full global group grouping having ilike in inner intersect interval is join left like limit not
    null nulls offset on only or order outer over partition prewhere qualify replace right rollup sample select semi
    sets table then ties to totals union using when where window with
""")
_FUNCTIONS = frozenset(
    word
    for line in (files("ingest.store") / "functions.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for word in line.split()
) | {"quantile_us"}
_COMBINATOR = re.compile(
    r"(?:if|array|map|simplestate|state|mergestate|merge|foreach|distinct|ordefault|ornull|resample|argmin|argmax|null)$"
)


def computes(name: str) -> bool:
    """Whether what is called so, in lower case, does nothing but compute."""
    if name in _FUNCTIONS or name in TYPES or name in TABLE_FUNCTIONS:
        return True
    while (shorter := _COMBINATOR.sub("", name)) != name:
        if shorter in _FUNCTIONS:
            return True
        name = shorter
    return False
