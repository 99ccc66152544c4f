#!/bin/sh
# Compiles the crates that read input with the coverage counters of libFuzzer, and all others without:
# with counters in candle, most of the time would be spent clearing them.
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
