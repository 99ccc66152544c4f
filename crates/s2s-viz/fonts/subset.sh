#!/bin/sh
# Makes the embedded fonts. Usage: subset.sh FOLDER, where FOLDER holds the files of these Debian packages:
# fonts-inter 4.0~beta7+ds-1 (Inter-Regular.otf and Inter-SemiBold.otf, version 3.019), fonts-dejavu-core
# 2.37-6, fonts-noto-core 20201225-1, fonts-droid-fallback 1:6.0.1r16-1.1.
# Needs fonttools 4.68.0.
set -eu
cd "$(dirname "$0")"
names='0,1,2,3,4,5,6,13,14'
for weight in Regular SemiBold; do
    # Latin, Greek, Cyrillic, punctuation, arrows, comparisons.
    pyftsubset "$1/Inter-$weight.otf" --output-file="Inter-$weight.otf" \
        --unicodes='U+20-7E,U+A0-17F,U+384-3CE,U+400-45F,U+2010-2027,U+2030-203A,U+20AC,U+2190-2193,U+2212,U+221E,U+2248,U+2260,U+2264,U+2265,U+25A1' \
        --layout-features='' --no-hinting --notdef-outline --name-IDs="$names"
done
# As Inter, with the other letters of these scripts; the phonetic alphabet, Armenian, Hebrew, Arabic, Georgian
# and symbols. The features join and place letters.
pyftsubset "$1/DejaVuSans.ttf" --output-file=DejaVuSans.ttf \
    --unicodes='U+20-7E,U+A0-52F,U+530-5FF,U+600-6FF,U+10A0-10FF,U+1E00-1FFF,U+2000-209F,U+20A0-20BF,U+2100-22FF,U+2400-2426,U+25A0-27BF,U+FB00-FB4F' \
    --layout-features='init,medi,fina,isol,rlig,ccmp,mark,mkmk' \
    --no-hinting --notdef-outline --no-glyph-names --name-IDs="$names"
for script in Thai Devanagari; do
    pyftsubset "$1/NotoSans$script-Regular.ttf" --output-file="NotoSans$script.ttf" --unicodes='*' \
        --no-hinting --no-glyph-names --name-IDs="$names"
done
# Kana and Bopomofo, and the characters that common encodings need two bytes for.
python3 - > DroidSansFallback.txt <<'PYTHON'
def plane(codec, leads, trails):
    for lead in leads:
        for trail in trails:
            try:
                character = bytes([lead, trail]).decode(codec)
            except UnicodeDecodeError:
                continue
            if len(character) == 1:
                yield ord(character)

high = range(0xA1, 0xFF)
codes = {*range(0x3000, 0x3130), *range(0x3131, 0x318F), *range(0x31F0, 0x3200), *range(0xFF01, 0xFFEF)}
codes.update(plane("gb2312", range(0xB0, 0xD8), high))  # level 1
codes.update(plane("euc_jp", range(0xB0, 0xD0), high))  # level 1
codes.update(plane("big5", range(0xA4, 0xC7), range(0x40, 0xFF)))  # level 1
codes.update(plane("euc_kr", range(0xB0, 0xC9), high))  # Hangul
print(",".join(f"U+{code:X}" for code in sorted(codes)))
PYTHON
pyftsubset "$1/DroidSansFallback.ttf" --output-file=DroidSansFallback.ttf \
    --unicodes-file=DroidSansFallback.txt --layout-features='' \
    --no-hinting --notdef-outline --no-glyph-names --name-IDs="$names"
rm DroidSansFallback.txt
gzip -9nf DejaVuSans.ttf NotoSansThai.ttf NotoSansDevanagari.ttf DroidSansFallback.ttf
