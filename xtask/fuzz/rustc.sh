#!/bin/sh
# Compiles what reads the input with the counters that libFuzzer steers by, and all else as it is:
# with candle's counters, most of the time would go into clearing them.
case " $* " in
*" --crate-name fuzz "* | *" --crate-name reverse_data "* | *" --crate-name s2s_"* | \
    *" --crate-name safetensors "* | *" --crate-name toml"* | *" --crate-name serde_json "*)
    exec "$@" -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=3 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
