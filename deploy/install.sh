#!/bin/sh
# Installs asr-adapt with its server into a folder; used by the Dockerfile, and on machines without containers.
#
#   sh deploy/install.sh TARGET [SOURCE]
#
# TARGET: folder of the virtual environment. SOURCE: the checkout; default: that of this script.
set -eu
target=${1:?"usage: sh deploy/install.sh TARGET [SOURCE]"}
source=${2:-$(dirname "$0")/..}
python3 -c 'import sys; sys.exit("asr_adapt needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
python3 -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$source[serve]"
# Its wheels require glibc 2.35; without it hotwords and n-grams are unavailable, and the server says so.
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "ctc-beam-decoder>=0.2" \
    || echo "note: beam search is not available on this system"
"$target/bin/asr-adapt" --version
