#!/usr/bin/env python3
"""Write fold_table.h: what rc_fold_utf8 makes of each character.

    python3 tools/fold_table.py > src/transform/fold_table.h

Most of the table follows from the Unicode Character Database that comes with
Python: a character is decomposed (NFKD) and its combining marks are dropped;
letters with a stroke, a hook or a turn are known by their names.  What comes
not to ASCII that way is written down below.  Characters of other scripts are
kept; symbols without an ASCII form become nothing.  It must not read any other
transliteration table.
"""

import re
import sys
import unicodedata

KEEP = None             # instead of a result: the character itself
LIMIT = 0x20000         # from here on there are letters, up to the tags
BLOCK = 64              # characters per second-level block

# Characters one by one.  The result runs from after the first space to the
# end of the line; "_" is a space in it.
SINGLE = """
¡ !
¢ C/
£ PS
¤ $?
¥ Y=
¦ |
§ SS
¨ "
© (c)
« <<
¬ !
® (r)
¯ -
° deg
± +-
´ '
µ u
¶ P
· *
¸ ,
» >>
¼ _1/4
½ _1/2
¾ _3/4
¿ ?
× x
÷ /
Æ AE
æ ae
Ð D
ð d
Ø O
ø o
Þ Th
þ th
ß ss
ẞ SS
Đ D
đ d
Ħ H
ħ h
ı i
ĸ k
Ł L
ł l
ŉ 'n
Ŀ L
ŀ l
Ŋ NG
ŋ ng
Œ OE
œ oe
Ŧ T
ŧ t
Ə @
ə @
ƍ d
Ǝ 3
Ƒ F
ƕ hv
Ƕ HV
ƛ l
Ɯ W
Ƣ OI
Ʀ YR
Ƨ 2
Ʃ SH
Ʒ ZH
ƿ w
Ƿ W
ǁ ||
ǂ |=
Ȣ OU
ȣ ou
ȸ db
ȹ qp
ɋ q
Ɋ q
Ʌ ^
ƒ f
ǝ @
ˆ ^
ˇ V
ˉ -
ˊ '
ˋ `
˘ '
˙ .
˚ o
˜ ~
˝ "
ʹ '
ʺ "
ʻ `
ʼ '
ʽ `
ˈ '
ˌ ,
Ξ Ks
ː :
ˑ .
‐ -
‑ -
‒ -
– -
— --
― --
‖ ||
‗ _
‘ '
’ '
‚ ,
‛ '
“ "
” "
„ ,,
‟ "
† +
‡ ++
• *
‣ *>
‧ .
․ .
‥ ..
… ...
‰ %0
‱ %00
′ '
″ ''
‴ '''
‵ `
‶ ``
‷ ```
‹ <
› >
※ *
‼ !!
‽ !?
‾ -
⁀ -
⁃ --
⁊ &
⁓ ~
⁄ /
⁇ ??
⁈ ?!
⁉ !?
⁎ *
‸ ^
⁂ ***
⁋ PP
⁒ %
₠ ECU
₡ CL
₢ Cr
₣ FF
₤ L
₥ mil
₦ N
₧ Pts
₨ Rs
₩ W
₪ NS
₫ D
€ EUR
₭ K
₮ T
₯ Dr
₱ P
₲ G
₳ A
₴ UAH
₵ C|
₰ Pf
₸ T
₹ Rs
₺ L
₽ R
₿ BTC
℃ degC
℉ degF
℅ _c/o_
ℓ l
№ No._
℗ (p)
℠ (sm)
™ (tm)
Ω ohm
℮ e
℀ _a/c_
℁ _a/s_
℆ _c/u_
⅍ A/S
⅐ _1/7_
⅑ _1/9_
⅒ _1/10_
⅓ _1/3_
⅔ _2/3_
⅕ _1/5_
⅖ _2/5_
⅗ _3/5_
⅘ _4/5_
⅙ _1/6_
⅚ _5/6_
⅛ _1/8_
⅜ _3/8_
⅝ _5/8_
⅞ _7/8_
⅟ _1/
↉ _0/3_
− -
∕ /
∖ \\
∗ *
∣ |
∶ :
∼ ~
≦ <=
≧ >=
≤ <=
≥ >=
✓ v
✔ v
✕ x
✖ x
"""

# Alphabets, as "character result" pairs; capitals follow from small letters
# (the first letter of the result is made large).
GREEK = """
α a β b γ g δ d ε e ζ z η e θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r ς s σ s
τ t υ u φ ph χ kh ψ ps ω o
ϛ st ϝ w ϟ q ϡ sp ϳ j ϣ sh ϥ f ϧ kh ϩ h ϫ g ϯ ti
"""
CYRILLIC = """
ѡ o ѣ e ѥ ie ѧ e ѩ ie ѫ o ѭ io ѯ ks ѱ ps ѳ f ѵ y ѹ u ѻ o ѽ o ѿ ot ҁ q
а a б b в v г g д d е e ж zh з z и i й i к k л l м m н n о o п p р r с s т t
у u ф f х kh ц ts ч ch ш sh щ shch ъ ' ы y ь ' э e ю iu я ia
ѐ ie ё io ђ dj ѓ gj є ie ѕ dz і i ї yi ј j љ lj њ nj ћ tsh ќ kj ѝ i ў u џ dzh
ґ g' ғ g' ҕ g' җ zh' ҙ z' қ k' ҝ k' ҟ k' ҡ k' ң n' ҥ ng ҧ p' ҩ kh ҫ s' ҭ t'
ү u ұ u' ҳ kh' ҵ tts ҷ ch' ҹ ch' һ h ҽ ch ҿ ch' ӄ k' ӈ n' ӌ ch ӗ ie ӕ ae
ә @ ӡ dz ө o ҍ " ҏ r'
"""
# Small letters without a decomposition, and their capitals.
LATIN = """
ƀ b ɓ b ƃ b ƈ c ɖ d ɗ d ƌ d ɠ g ɨ i ɩ i ƙ k ƚ l ɯ m ɲ n ƞ n ɵ o ƣ oi ƥ p ƨ 2
ʃ sh ƫ t ƭ t ʈ t ʊ y ʋ v ƴ y ƶ z ʒ zh ǥ g ȝ y ȡ d ȥ z ȼ c ɇ e ɉ j ɍ r ɏ y
ȴ l ȵ n ȶ t ȷ j ȿ s ɀ z ⱡ l ⱥ a ⱦ t ⱨ h ⱪ k ⱬ z ɑ a ɐ a ɔ o ɕ c ɘ e ɛ e ɡ g
ɢ g ɣ g ɥ h ɦ h ɪ i ɫ l ɬ l ɭ l ɱ m ɳ n ɴ n ɸ f ɹ r ɺ r ɻ r ɼ r ɽ r ɾ r ʀ r
ʁ r ʂ s ʉ u ʌ v ʍ w ʎ y ʏ y ʐ z ʑ z ʙ b ʜ h ʝ j ʟ l ʠ q ɶ oe ʣ dz ʤ dzh ʥ dz
ʦ ts ǀ | ǃ ! ƅ 6 ƽ 5 ƹ zh
"""
# Letters of phonetic alphabets, and capitals that do not follow: these alone.
ALONE = """
ʶ r ƪ sh ƺ zh ƻ 2 ƾ ts ɒ a ɚ @ ɤ u ɥ Y ɧ h ɮ lZ ɯ W ɰ W ɶ OE ɷ O ɸ F ʃ S ʅ S
ʆ S ʊ U ʌ ^ ʒ Z ʓ Z ʔ ? ʕ ? ʖ ? ʗ C ʘ @ ʚ E ʞ k ʡ ? ʢ ? ʤ dZ ʧ tS ʨ tC ʩ fN
ʪ ls ʫ lz ʬ WW ʭ ]] ˠ G ᴑ O ᴓ O ᴔ Oe ᴕ Ou ᴃ B ᴯ B ᴲ E ᴻ N ᴽ Ou ᴆ D ᴂ ae Ⅎ F
ⅎ F ↀ (D ↁ D) ↂ ((|)) Ↄ ) Ϭ CH ϭ ch ϗ & ϲ c ΐ I ῤ R ῥ R ẛ S ᵠ f ᵩ f ʹ ' ͵ ,
ɪ I ʀ R ʁ R ʏ Y ʙ B ʜ H ʟ L Ƹ ZH ǯ zh ᵚ m ᵎ i ῝ `' Ѹ u Ӑ a Ӏ ` ҂ *1000*
҈ *100.000* ҉ *1.000.000*
"""
# Spacing accents of Greek, by the words of their names.
GREEK_ACCENTS = {"PSILI": "'", "KORONIS": "'", "DASIA": "`", "VARIA": "`",
                 "OXIA": "'", "PERISPOMENI": "~", "DIALYTIKA": '"'}
# Marks that letters of these scripts wear, and marks on symbols.
MARKS = [(0x0300, 0x036F), (0x0483, 0x0489), (0x1AB0, 0x1AFF),
         (0x1DC0, 0x1DF9), (0x1DFB, 0x1DFF), (0x20D0, 0x20FF),
         (0x2DE0, 0x2DFF), (0xA66F, 0xA67D), (0xA69E, 0xA69F),
         (0xFE00, 0xFE0F), (0xFE20, 0xFE2F)]
# A Latin letter that another one was made of, in the names of Unicode.
TURNED = "(?:TURNED |REVERSED |SIDEWAYS |DIAERESIZED |CLOSED )*"
BY_NAME = [
    (f"LATIN SMALL LETTER {TURNED}(?:OPEN )?(AE|[A-Z])(?: WITH .*)?",
     lambda letter: letter.lower()),
    ("LATIN SMALL LETTER DOTLESS (J) WITH .*", lambda letter: "j"),
    ("LATIN CAPITAL LETTER ([A-Z]) WITH (?!SMALL).*", lambda letter: letter),
    ("LATIN LETTER SMALL CAPITAL (?:BARRED |REVERSED |INVERTED |TURNED )?"
     "(AE|[A-Z])(?: WITH .*)?", lambda letter: letter),
    ("COMBINING LATIN SMALL LETTER ([A-Z])", lambda letter: letter.lower()),
    ("NEGATIVE CIRCLED LATIN CAPITAL LETTER ([A-Z])", "({})".format),
    ("CIRCLED ITALIC LATIN CAPITAL LETTER ([A-Z])", "({})".format),
    ("(?:NEGATIVE )?SQUARED LATIN CAPITAL LETTER ([A-Z])", "[{}]".format),
]


# Lines, arrows and shapes, by the words of their Unicode names: the first
# rule whose words occur gives the result.
SHAPES = [
    (0x2190, 0x21FF, [
        ("\\", "NORTH WEST"), ("\\", "SOUTH EAST"),
        ("/", "NORTH EAST"), ("/", "SOUTH WEST"),
        ("~", "WAVE"), ("~", "SQUIGGLE"),
        ("^", "ANTICLOCKWISE OPEN"), ("V", "CLOCKWISE OPEN"),
        ("^", "ANTICLOCKWISE TOP"), ("V", "CLOCKWISE TOP"),
        ("|", "UPWARDS"), ("|", "DOWNWARDS"), ("|", "UP DOWN"),
        ("=", "DOUBLE"), ("=", "OVER"), ("=", "PAIRED"), ("=", "TRIPLE"),
        ("-", "LEFTWARDS"), ("-", "RIGHTWARDS"), ("-", "LEFT RIGHT")]),
    (0x2500, 0x2580, [
        ("/", "UPPER RIGHT TO LOWER LEFT"), ("\\", "UPPER LEFT TO LOWER RIGHT"),
        ("X", "CROSS"), ("+", "AND"), ("-", "HORIZONTAL"), ("|", "VERTICAL"),
        ("-", "LEFT"), ("-", "RIGHT"), ("|", "")]),
    (0x2580, 0x25A0, [("-", "UPPER ONE EIGHTH"), ("|", "RIGHT ONE EIGHTH"),
                      ("#", "BLOCK"), ("#", "SHADE")]),
    (0x25A0, 0x2600, [
        ("#", "SQUARE"), ("#", "RECTANGLE"), ("#", "PARALLELOGRAM"),
        ("^", "UP-POINTING"), ("V", "DOWN-POINTING"), (">", "RIGHT-POINTING"),
        ("<", "LEFT-POINTING"), ("*", "DIAMOND"), ("*", "LOZENGE"),
        ("*", "CIRCLE"), ("*", "BULLET"), ("*", "FISHEYE"), ("*", "BULLSEYE")]),
]


def pairs(text):
    words = text.split()
    return zip(words[0::2], words[1::2])


def by_name(name):
    """What the name of a character says of it; None if nothing."""
    for pattern, result in BY_NAME:
        found = re.fullmatch(pattern, name)
        if found:
            return result(found.group(1))
    words = name.removeprefix("GREEK ").split(" AND ")
    if name.startswith("GREEK ") and all(w in GREEK_ACCENTS for w in words):
        return "".join(GREEK_ACCENTS[word] for word in words)
    return None


def own_list():
    """The characters written down above."""
    own = {}
    for code in range(0x80, LIMIT):
        result = by_name(unicodedata.name(chr(code), ""))
        if result is not None:
            own[code] = result
    for alphabet in (GREEK, CYRILLIC, LATIN):
        for small, result in pairs(alphabet):
            own[ord(small)] = result
            large = small.upper()
            if len(large) == 1 and large != small:
                own[ord(large)] = result[0].upper() + result[1:]
    for char, result in pairs(ALONE):
        own[ord(char)] = result
    for start, end, rules in SHAPES:
        for code in range(start, end):
            name = unicodedata.name(chr(code), "")
            found = [result for result, words in rules if words in name]
            if found:
                own[code] = found[0]
    for line in SINGLE.split("\n"):
        if line:
            char, result = line.split(" ", 1)
            own[ord(char)] = result.replace("\\\\", "\\").replace("_", " ")
    own[ord("‗")] = "_"
    # every width of space (none as well), line and paragraph separator
    for code in [0xA0, 0x1680, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x3000]:
        own[code] = " "
    own[0x2028] = "\n"
    own[0x2029] = "\n\n"
    # brackets, commas and stops of Chinese and Japanese typography
    for char, result in pairs("、 , 。 . 〈 < 〉 > 《 << 》 >> 「 [ 」 ] 『 { 』 }"):
        own[ord(char)] = result
    return own


def is_mark(code):
    return any(first <= code <= last for first, last in MARKS)


def without_ascii(code):
    """KEEP or nothing, for a character that has no ASCII form."""
    category = unicodedata.category(chr(code))
    if is_mark(code) or category in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if category[0] in "LMNPC" or category == "Sc":
        return KEEP
    # a symbol made of letters, such as that of a company in Japanese
    letters = [char for char in unicodedata.normalize("NFKD", chr(code))
               if ord(char) >= 0x80 and unicodedata.category(char)[0] in "LN"]
    return KEEP if letters else ""


def fold(code, own):
    """The result for one character: ASCII, "" or KEEP."""
    if code < 0x80:
        return chr(code)
    if code in own:
        return own[code]
    if 0x2200 <= code < 0x2300:
        return ""               # a crossed-out sign must not lose its stroke
    if 0x24EB <= code < 0x2500:
        return str(int(unicodedata.numeric(chr(code))))
    result = ""
    decomposed = unicodedata.normalize("NFKD", chr(code))
    for char in decomposed:
        if is_mark(ord(char)):
            continue
        if ord(char) >= 0x80 and ord(char) not in own:
            return without_ascii(code)
        result += own.get(ord(char), char)
    # a spacing accent decomposes to a space and the accent
    return result if len(decomposed) == 1 or result.strip() else ""


def c_string(text):
    """text as the inside of a C string literal, without trigraphs."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("\n", "\\n").replace("?", "\\?")


def numbers(values):
    """Lines of comma-separated numbers, within 80 columns."""
    line = "\t"
    for value in values:
        item = "%d, " % value
        if len(line) + len(item) > 75:
            yield line.rstrip()
            line = "\t"
        line += item
    yield line.rstrip().rstrip(",")


def main():
    own = own_list()
    offsets = {KEEP: 0, "": 1}
    pool = ["", ""]
    size = 2
    blocks = {(0,) * BLOCK: 0}
    order = [(0,) * BLOCK]
    first = []
    for start in range(0, LIMIT, BLOCK):
        block = []
        for code in range(start, start + BLOCK):
            result = fold(code, own) if code >= 0x80 else KEEP
            if result not in offsets:
                offsets[result] = size
                pool.append(result)
                size += len(result) + 1
            block.append(offsets[result])
        block = tuple(block)
        if block not in blocks:
            blocks[block] = len(order)
            order.append(block)
        first.append(blocks[block])
    while first[-1] == 0:
        first.pop()
    assert size < 65536 and len(order) < 65536

    out = sys.stdout.write
    out("""/*-------------------------------------------------------------------------
 *
 * fold_table.h
 *	  What rc_fold_utf8 makes of each character.  Included by fold.c alone.
 *
 * Generated by fold_table.py from Unicode %s; do not edit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FOLD_TABLE_H
#define RC_FOLD_TABLE_H

#define FOLD_BLOCK_SIZE %d
#define FOLD_LIMIT 0x%X
#define FOLD_KEEP 0				/* the character itself */

/* results, each ended by a null byte; the first one is FOLD_KEEP */
static const char fold_pool[] =
""" % (unicodedata.unidata_version, BLOCK, len(first) * BLOCK))
    line = ""
    for result in pool:
        item = c_string(result) + "\\000"
        if len(line) + len(item) > 68:
            out('"%s"\n' % line)
            line = ""
        line += item
    out('"%s";\n\n' % line)
    out("/* block of a character, by its number divided by the block size */\n")
    kind = "uint8" if len(order) <= 256 else "uint16"
    out("static const %s fold_block[] = {\n" % kind)
    out("\n".join(numbers(first)) + "\n};\n\n")
    out("/* place in fold_pool, by block and place in the block */\n")
    out("static const uint16 fold_offset[][FOLD_BLOCK_SIZE] = {\n")
    out(",\n".join("\t{\n" + "\n".join("\t" + s for s in numbers(b)) + "\n\t}"
                   for b in order))
    out("\n};\n\n#endif\t\t\t\t\t\t\t/* RC_FOLD_TABLE_H */\n")


if __name__ == "__main__":
    main()
