#!/bin/sh
# Builds and runs the fuzzer of the C coder: tests/fuzz/coder.sh PYTHON FOLDER SECONDS, after seeds.py FOLDER.
set -eu
python=$1 folder=$2 seconds=$3
clang=${CLANG:-clang}
here=$(dirname "$0")
mkdir -p "$folder/found" "$folder/crashes"

command -v "$clang" >/dev/null || {
    echo "fuzz: needs clang with libFuzzer: apt install clang libclang-rt-14-dev (or set CLANG)" >&2
    exit 1
}
ask() { "$python" -c "import sysconfig; print($1)"; }
include=$(ask 'sysconfig.get_path("include")')
library=$(ask 'sysconfig.get_config_var("LIBDIR")')
name=python$(ask 'sysconfig.get_config_var("LDVERSION")')
# A stream has no magic numbers to be found by what is compared, and watching for that would take three quarters of the time.
"$clang" -g -O2 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -fno-sanitize-coverage=trace-cmp \
    -I"$include" "$here/coder.c" -o "$folder/coder-fuzz" -L"$library" -Wl,-rpath,"$library" -l"$name" || {
    echo "fuzz: cannot build the harness: it needs libFuzzer (apt install libclang-rt-14-dev) and lib$name" \
        "(apt install libpython3-dev)" >&2
    exit 1
}
# Python keeps what it allocated, which is no leak; growth without bound meets the limit of memory.
EDGEPRESS_FUZZ_TABLES="$folder/tables.bin" ASAN_OPTIONS=detect_leaks=0 "$folder/coder-fuzz" -detect_leaks=0 \
    -max_total_time="$seconds" -max_len=1024 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$folder/crashes/" "$folder/found" "$folder/coder" >"$folder/coder.log" 2>&1 || {
    tail -n 40 "$folder/coder.log" >&2
    echo "fuzz: the C coder failed; the input is in $folder/crashes" >&2
    exit 1
}
echo "coder: $(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/coder.log") damaged inputs went as they should"
