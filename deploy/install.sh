#!/bin/sh
# What the Dockerfile runs, and what a machine without containers can run: asr-adapt with its server, in a folder of
# its own.
#
#   sh deploy/install.sh TARGET [SOURCE]
#
# TARGET: where the virtual environment goes. SOURCE: this checkout; default: where the script is.
set -eu
target=${1:?"usage: sh deploy/install.sh TARGET [SOURCE]"}
source=${2:-$(dirname "$0")/..}
python3 -c 'import sys; sys.exit("asr_adapt needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
python3 -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$source[serve]"
# Its wheels want glibc 2.35; without it there are no hotwords and no n-grams, and the server says so.
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "ctc-beam-decoder>=0.2" \
    || echo "note: no beam search on this system"
"$target/bin/asr-adapt" --version
