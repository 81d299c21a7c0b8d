#!/bin/sh
# An emulated aarch64 machine (Debian bookworm under qemu-user) that installs edgepress with pip, reads what this machine
# wrote, and writes what this machine reads. Everything stays below the folder build/aarch64.
#
#   tests/devices/aarch64.sh PYTHON      PYTHON: this machine's, with edgepress and scikit-image installed
set -eu
python=$1
here=$(dirname "$0")
work=$PWD/build/aarch64
root=$work/root

missing() {
    echo "test-aarch64: $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || missing "needs root (chroot): run it as root, or on a real board (docs/raspberry-pi.md)"
for tool in debootstrap qemu-aarch64-static unshare; do
    command -v $tool >/dev/null || missing "needs $tool: apt install debootstrap qemu-user-static binfmt-support"
done
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt || missing "the kernel has no binfmt_misc"
[ -e $binfmt/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64 || missing "cannot register qemu-aarch64"

mkdir -p "$work"
if [ ! -e "$root/.complete" ]; then
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 2>/dev/null | head -n 1)}
    rm -rf "$root"
    debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv,python3-dev,gcc,libc6-dev \
        bookworm "$root" ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 ||
        missing "debootstrap failed, see $work/debootstrap.log"
    touch "$root/.complete"
fi

# The emulated machine gets its packages from a folder, so that it needs no network of its own.
rm -rf "$work/exchange" "$root/exchange"
mkdir -p "$work/exchange/wheels"
"$python" -c 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])' \
    "$work/exchange/wheels" >"$work/sdist.log" 2>&1 || missing "cannot build the sdist, see $work/sdist.log"
"$python" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 --dest "$work/exchange/wheels" \
    'numpy>=1.24' 'pillow>=10.1' 'click>=8.1' 'ai-edge-litert>=2.1' 'setuptools>=70.1' wheel

"$python" "$here/photographs.py" "$work/exchange/images"
"$python" "$here/exchange.py" write "$work/exchange/from-here" "$work"/exchange/images/*.png
cp "$here/exchange.py" "$work/exchange/"
cp -r "$work/exchange" "$root/exchange"

cat >"$root/exchange/there.sh" <<'THERE'
set -eu
cd /exchange
[ -x /venv/bin/python ] || python3 -m venv /venv
/venv/bin/python -m pip uninstall --quiet --yes edgepress 2>/dev/null || true
/venv/bin/python -m pip install --quiet --no-cache-dir --no-index --find-links wheels edgepress
/venv/bin/edgepress models
EDGEPRESS_CODER=native /venv/bin/python exchange.py compare from-here
EDGEPRESS_CODER=python /venv/bin/python exchange.py compare from-here
/venv/bin/python exchange.py write from-there images/*.png
THERE
# The mounts vanish with the namespace.
unshare --mount sh -c 'mount -t proc proc "$1/proc" && chroot "$1" /bin/sh /exchange/there.sh' - "$root"
cp -r "$root/exchange/from-there" "$work/exchange/"
EDGEPRESS_CODER=native "$python" "$here/exchange.py" compare "$work/exchange/from-there"
EDGEPRESS_CODER=python "$python" "$here/exchange.py" compare "$work/exchange/from-there"
echo "test-aarch64: the same symbols in both directions, with both coders"
