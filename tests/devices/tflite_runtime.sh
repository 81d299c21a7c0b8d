#!/bin/sh
# The runtime's tests with tflite-runtime and numpy 1.26, in an environment of their own: what armv7l boards have.
#
#   tests/devices/tflite_runtime.sh PYTHON       PYTHON: one that tflite-runtime has wheels for, 3.10 or 3.11
set -eu
python=$1
work=build/tflite-runtime

"$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null || {
    echo "test-tflite-runtime: $python is not Python 3.10 or 3.11, for which tflite-runtime has wheels:" \
        "make test-tflite-runtime TFLITE_PYTHON=python3.11" >&2
    exit 1
}
if [ ! -e $work/.complete ]; then
    rm -rf $work
    "$python" -m venv $work
    $work/bin/python -m pip install --quiet --disable-pip-version-check 'tflite-runtime==2.14.*' 'numpy==1.26.*' \
        'pillow>=10.1' 'click>=8.1' pytest hypothesis flatbuffers 'scikit-image<0.25'
    # The tests build their models with the schema (one Python file) that comes with LiteRT; LiteRT itself stays out.
    $work/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $work/litert 'ai-edge-litert>=2.1'
    site=$($work/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$site/ai_edge_litert"
    cp $work/litert/ai_edge_litert/schema_py_generated.py "$site/ai_edge_litert/"
    rm -rf $work/litert
    touch $work/.complete
fi
$work/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
library=$($work/bin/python -c 'from edgepress.runtime.interpreter import choose_interpreter as c
print(c().name, c().version)')
echo "test-tflite-runtime: the runtime's tests with $library"
case $library in tflite-runtime*) ;; *) echo "that is not tflite-runtime" >&2 && exit 1 ;; esac
$work/bin/python -m pytest tests/runtime -p no:cacheprovider
