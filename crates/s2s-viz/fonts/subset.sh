#!/bin/sh
# Makes the embedded fonts. Usage: subset.sh FOLDER, where FOLDER holds Inter-Regular.otf and
# Inter-SemiBold.otf of the Debian package fonts-inter 4.0~beta7+ds-1 (Inter 3.019).
# Needs fonttools 4.68.0.
set -eu
cd "$(dirname "$0")"
for weight in Regular SemiBold; do
    # Latin, Greek, Cyrillic, punctuation, arrows, comparisons, and the box for all others.
    pyftsubset "$1/Inter-$weight.otf" --output-file="Inter-$weight.otf" \
        --unicodes='U+20-7E,U+A0-17F,U+384-3CE,U+400-45F,U+2010-2027,U+2030-203A,U+20AC,U+2190-2193,U+2212,U+221E,U+2248,U+2260,U+2264,U+2265,U+25A1' \
        --layout-features='' --no-hinting --notdef-outline --name-IDs='0,1,2,3,4,5,6,13,14'
done
