"""From the HTML of a mail to text: quoted mails dropped, layout flattened; within limits that the caller keeps."""

import re
from html import unescape
from itertools import islice
from typing import Any

import inscriptis
import lxml.etree
import lxml.html
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement

# Lists without indents, which add up with their depth.
_LAYOUT = ParserConfig(
    css=STRICT_CSS_PROFILE
    | {"ul": HtmlElement(display=Display.block), "ol": HtmlElement(display=Display.block), "cell": HtmlElement(suffix=" ")}
)
_FLAT = dict.fromkeys(("table", "thead", "tbody", "tfoot", "tr", "caption"), "div") | {"td": "cell", "th": "cell"}
_SKIPPED = ("script", "style", "head", "title", "img", "noscript", "template", "object", "svg")
_HIDDEN = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(/?[a-zA-Z]\w*|!|\?)[^<>]*>")
_BREAKING = frozenset({"br", "p", "div", "tr", "li", "table", "blockquote", "h1", "h2", "h3", "/p", "/div"})
_FORWARD_MARK = re.compile(r"forwarded message|diteruskan|pesan terusan", re.IGNORECASE)


_LONGEST_TAG = 5_000
_TAG_BEGINS = re.compile(r"<[a-zA-Z]")
_QUOTED_TAG_END = re.compile(r"""=\s*(?:"[^">]*>|'[^'>]*>)""")


def _with_class(name: str) -> str:
    return f"contains(concat(' ', normalize-space(@class), ' '), ' {name} ')"


# Gmail, Yahoo, Thunderbird, Apple Mail. Gmail's wrapper also holds what was written between the quotes, so of a wrapper
# with quotes in it only these and the attribution line are dropped.
_QUOTES = (
    f"//blockquote[@type='cite' or {_with_class('gmail_quote')}]"
    f" | //*[{_with_class('gmail_attr')} and ancestor::*[{_with_class('gmail_quote')}]]"
    f" | //div[{_with_class('gmail_quote')} and not(.//blockquote)]"
    f" | //*[{_with_class('yahoo_quoted')} or {_with_class('moz-cite-prefix')}]"
)
_OUTLOOK_QUOTE = "//*[@id='divRplyFwdMsg']"


def is_crowded(html: str) -> bool:
    """A tag may have thousands of attributes, for which libxml2 takes quadratic time (6 s for 60,000 in half a megabyte).

    Such a tag is long, and between its attributes ">" stands in quotes only.
    """
    if next(islice(_QUOTED_TAG_END.finditer(html), 5, None), None):
        return True
    pieces = (piece for piece in html.split(">") if len(piece) > _LONGEST_TAG)
    return any(_TAG_BEGINS.search(piece, 0, len(piece) - _LONGEST_TAG) for piece in pieces)


def drop_quotes(tree: Any) -> bool:
    """Remove quoted mails; say whether there were any."""
    quotes = [quote for quote in tree.xpath(_QUOTES) if not _is_forward(quote)]
    rests = tree.xpath(_OUTLOOK_QUOTE)
    for quote in quotes:  # a line break keeps the text above and the text below apart
        quote.clear(keep_tail=True)
        quote.tag = "br"
    for quote in rests:
        _drop_from(quote)
    return bool(quotes or rests)


def _is_forward(element: Any) -> bool:
    beginning = "".join(islice(element.itertext(), 20))[:300]
    return _FORWARD_MARK.search(beginning) is not None


def _drop_from(element: Any) -> None:
    """Remove an element and everything behind it in the document, the ends of its ancestors included."""
    first = element
    while (parent := element.getparent()) is not None:
        for follower in list(element.itersiblings()):
            parent.remove(follower)
        element.tail = None
        element = parent
    if first.getparent() is not None:
        first.getparent().remove(first)


def converted(tree: Any) -> str:
    """The text of a document, as it would be read; of one that cannot be laid out, what is left without its tags."""
    try:
        _strip_layout(tree)
        return str(inscriptis.Inscriptis(tree, _LAYOUT).get_text())
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError):
        return without_tags(lxml.html.tostring(tree, encoding="unicode"))


def _strip_layout(tree: Any) -> None:
    """Leave bare tags: `padding-left: 9999em` on many lines, or on columns of many rows, would fill the memory.

    Cells stand side by side and rows below each other: most tables in mail are there for the looks.
    """
    for element in tree.xpath("//*[@style]"):
        if "display:none" in element.get("style").replace(" ", "").lower():
            element.tag = "template"
    # Not drop_tree(): it sets texts anew, which lxml refuses for the control characters that entities bring in.
    lxml.etree.strip_elements(tree, *_SKIPPED, with_tail=False)
    for element in tree.iter():
        element.attrib.clear()
        element.tag = _FLAT.get(element.tag, element.tag)


def without_tags(html: str) -> str:
    """HTML freed of tags, scripts and styles; line breaks where blocks begin."""
    text = _TAG.sub(lambda tag: "\n" if tag[1].lower() in _BREAKING else " ", _HIDDEN.sub(" ", html))
    return unescape(text)
