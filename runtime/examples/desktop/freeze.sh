#!/usr/bin/env bash
# Check app.py by test.py, freeze it and the command line with PyInstaller, and run both in an empty
# environment, the app on a virtual screen:
#   freeze.sh OUT
# This writes OUT/voxmood-app/, which runs anywhere, and OUT/screenshot.png, and prints the size and the
# time of a start. It fails if a program does not run, or contains packages that it must not contain.
# On Debian it needs xvfb, binutils and the libraries of $DEBIAN below, and installs them if it is root.
set -euo pipefail
out=$(realpath -m "${1:?the folder to write to is missing}")
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DEBIAN="xvfb binutils libegl1 libgl1 libportaudio2 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4
    libxcb-keysyms1 libxcb-shape0 libxcb-xinerama0"
if ! { command -v xvfb-run && command -v strip && ldconfig -p | grep libxcb-cursor; } > /dev/null; then
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq $DEBIAN > /dev/null
fi

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "$root[cpu,mic]" -r "$here/requirements.txt"
QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" "$here/test.py"
# The app opens no connections, so it needs no OpenSSL; hashlib computes SHA-256 without it.
(cd "$work" && venv/bin/pyinstaller --log-level ERROR --noconfirm --windowed --name voxmood-app \
    --exclude-module _ssl --exclude-module _hashlib \
    --distpath "$out" --workpath "$work/build" --specpath "$work" "$here/app.py")
printf 'import sys\nfrom voxmood.cli import main\nsys.exit(main())\n' > "$work/voxmood-cli.py"
(cd "$work" && venv/bin/pyinstaller --log-level ERROR --noconfirm --distpath "$work" \
    --workpath "$work/build" --specpath "$work" voxmood-cli.py)
inside=$out/voxmood-app/_internal
# Python's own libraries may contain symbols that are not needed at run time. The libraries of wheels
# contain none, and stripping breaks some of them.
strip --strip-unneeded "$inside"/libpython* "$inside"/python3*/lib-dynload/*.so
rm -rf "$work/venv" # the programs must not find anything there

start() { # run the app with these arguments: without Python and variables, in another folder
    cd "$work"
    # shellcheck disable=SC2016 # the inner shell expands these variables
    xvfb-run -a sh -c 'exec env -i LANG=C.UTF-8 DISPLAY="$DISPLAY" XAUTHORITY="$XAUTHORITY" "$@"' - \
        "$out/voxmood-app/voxmood-app" "$@"
}
cp "$here/../hello.wav" "$work/"
for _ in 1 2 3; do
    begin=$(date +%s%N)
    (start hello.wav --screenshot "$out/screenshot.png")
    echo "start, label, draw and exit: $((($(date +%s%N) - begin) / 1000000)) ms"
done

(
    cd "$work"
    mkdir recordings
    cp hello.wav recordings/
    bundle=$(echo voxmood-cli/_internal/voxmood/models/*/bundle)
    cli() { env -i LANG=C.UTF-8 voxmood-cli/voxmood-cli "$@"; }
    cli --help > help.txt
    cli info
    cli predict hello.wav
    cli timeline hello.wav --window 2
    cli batch recordings --output table.csv
    cli compare "$root/models/voxmood-small/bundle@fp32" "$bundle@int8" --audio recordings
    for command in export bench; do # these need PyTorch; the program must say so in one line
        if cli "$command" from to 2> error.txt || [ "$(wc -l < error.txt)" != 1 ] ||
            ! grep "$command is not part of this program" error.txt; then
            echo "the frozen command line says of $command: $(cat error.txt)" >&2
            exit 1
        fi
    done
)

for name in torch transformers onnx librosa scipy matplotlib tkinter; do
    if [ -e "$inside/$name" ]; then
        echo "the app contains $name" >&2
        exit 1
    fi
done
bytes() { du -sbc "$@" | tail -1 | cut -f 1; }
# The part of Qt is PySide6, shiboken6 and the system libraries that only these two link to.
cd "$inside"
packages=$(find . -mindepth 1 -maxdepth 1 ! -name '*.so*' ! -name PySide6 ! -name shiboken6)
linked=$(find $packages libpython* libportaudio* ../voxmood-app -type f \( -name '*.so*' -o -perm -1 \) \
    -exec ldd {} + 2>/dev/null | awk '/=>/ { print $1 }' | sort -u)
libraries=$(ls | grep -Fxe "$linked")
other=$(bytes ../voxmood-app libportaudio* $packages $libraries)
echo "$(($(bytes ..) / 1000000)) MB, $((other / 1000000)) MB of it without Qt"
if [ "$other" -gt 120000000 ]; then
    echo "the app takes more than 120 MB without Qt" >&2
    exit 1
fi
