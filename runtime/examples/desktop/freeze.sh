#!/usr/bin/env bash
# Freezes app.py with PyInstaller and runs what comes out in an empty environment on a virtual screen,
# and likewise the command line, of which every command is run:
#   freeze.sh OUT
# OUT gets voxmood-app/, to be run anywhere, and screenshot.png. Says how large it is and how fast
# it starts; fails if it does not run or holds what it should not. On Debian it needs xvfb,
# binutils and the libraries of $DEBIAN below; as root it installs them.
set -euo pipefail
out=$(realpath -m "${1:?where to write to}")
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
# The app opens no connections, so it needs no OpenSSL; hashlib has SHA-256 without it.
(cd "$work" && venv/bin/pyinstaller --log-level ERROR --noconfirm --windowed --name voxmood-app \
    --exclude-module _ssl --exclude-module _hashlib \
    --distpath "$out" --workpath "$work/build" --specpath "$work" "$here/app.py")
printf 'import sys\nfrom voxmood.cli import main\nsys.exit(main())\n' > "$work/voxmood-cli.py"
(cd "$work" && venv/bin/pyinstaller --log-level ERROR --noconfirm --distpath "$work" \
    --workpath "$work/build" --specpath "$work" voxmood-cli.py)
inside=$out/voxmood-app/_internal
# Python's own libraries may carry symbols that nothing at run time needs. Those of wheels do not,
# and stripping breaks some.
strip --strip-unneeded "$inside"/libpython* "$inside"/python3*/lib-dynload/*.so
rm -rf "$work/venv" # so that nothing can be found there

start() { # voxmood-app ARGUMENT...: no Python, no variables of ours, another folder
    cd "$work"
    # shellcheck disable=SC2016 # for the shell inside
    xvfb-run -a sh -c 'exec env -i LANG=C.UTF-8 DISPLAY="$DISPLAY" XAUTHORITY="$XAUTHORITY" "$@"' - \
        "$out/voxmood-app/voxmood-app" "$@"
}
cp "$here/../hello.wav" "$work/"
for _ in 1 2 3; do
    begin=$(date +%s%N)
    (start hello.wav --screenshot "$out/screenshot.png")
    echo "start to labelled, drawn and ended: $((($(date +%s%N) - begin) / 1000000)) ms"
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
    cli compare "$bundle@fp32" "$bundle@int8" --audio recordings
    for command in export bench; do # which it cannot have, and says so in one line
        if cli "$command" from to 2> error.txt || [ "$(wc -l < error.txt)" != 1 ] ||
            ! grep "$command is not part of this program" error.txt; then
            echo "the frozen command line says of $command: $(cat error.txt)" >&2
            exit 1
        fi
    done
)

for name in torch transformers onnx librosa scipy matplotlib tkinter; do
    if [ -e "$inside/$name" ]; then
        echo "$name is inside" >&2
        exit 1
    fi
done
bytes() { du -sbc "$@" | tail -1 | cut -f 1; }
# Qt's part: PySide6, shiboken6 and the system's libraries that only they link to.
cd "$inside"
packages=$(find . -mindepth 1 -maxdepth 1 ! -name '*.so*' ! -name PySide6 ! -name shiboken6)
linked=$(find $packages libpython* libportaudio* ../voxmood-app -type f \( -name '*.so*' -o -perm -1 \) \
    -exec ldd {} + 2>/dev/null | awk '/=>/ { print $1 }' | sort -u)
libraries=$(ls | grep -Fxe "$linked")
other=$(bytes ../voxmood-app libportaudio* $packages $libraries)
echo "$(($(bytes ..) / 1000000)) MB, of which $((other / 1000000)) MB are not Qt's"
if [ "$other" -gt 120000000 ]; then
    echo "more than 120 MB beside Qt" >&2
    exit 1
fi
