# Makes and keeps the environments of the scripts. Bash sources it in the project's root:
#   source tools/setup_env.sh; setup_env fork     ->  .venv        (constraints.txt)
#   source tools/setup_env.sh; setup_env stock    ->  .venv-stock  (constraints-stock.txt)
# Afterwards $PYTHON is the environment's interpreter; if it is set before, it is the interpreter to
# build on. A second run finds its stamp and takes well under a second. An interrupted set-up starts
# again. An installed torch of version 2.10 or newer stays, in the environment or in the interpreter
# that it is built on.

setup_env_fail() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# setup_env_step LABEL SECONDS COMMAND... runs one step of the set-up in the background and shows
# the time that it has taken; SECONDS is what it usually takes. The output goes to the log.
setup_env_step() {
    local label=$1 usual=$2 started=$SECONDS pid waited=0 frame
    shift 2
    SETUP_ENV_STEP=$((SETUP_ENV_STEP + 1))
    printf -v frame 'set-up %d/%d: %s' "$SETUP_ENV_STEP" "$SETUP_ENV_STEPS" "$label"
    printf '%s (usually about %s s)\n' "$frame" "$usual" >&2
    printf '\n$ %s\n' "$*" >>"$SETUP_ENV_LOG"
    "$@" >>"$SETUP_ENV_LOG" 2>&1 &
    pid=$!
    # shellcheck disable=SC2064
    trap "kill $pid 2>/dev/null; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        waited=$((SECONDS - started))
        if [ -t 2 ]; then
            printf '\r  %d s' "$waited" >&2
        elif [ "$waited" -ge 15 ] && [ $((waited % 15)) -eq 0 ] &&
            [ "${SETUP_ENV_SAID:-}" != "$SETUP_ENV_STEP.$waited" ]; then
            SETUP_ENV_SAID=$SETUP_ENV_STEP.$waited
            printf '  %d s\n' "$waited" >&2
        fi
    done
    trap - INT TERM
    if ! wait "$pid"; then
        tail -n 15 "$SETUP_ENV_LOG" >&2
        setup_env_fail "the step '$label' failed; the whole log is $SETUP_ENV_LOG." \
            'Run the command again once the cause is removed.'
    fi
}

# Prints the first interpreter that can make an environment: $PYTHON, python3, then by version.
setup_env_find_python() {
    local candidate found
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.1{1,2,0,3} python; do
        found=$("$candidate" -c 'import sys, venv, ensurepip
if sys.version_info >= (3, 10): print(sys.executable)' 2>/dev/null)
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return
        fi
        if [ -n "${PYTHON:-}" ] && [ "$candidate" = "$PYTHON" ]; then
            setup_env_fail "PYTHON=$PYTHON is no Python >= 3.10 with the modules" \
                'venv and ensurepip; unset it or name another.'
        fi
    done
    setup_env_fail 'no Python >= 3.10 with the modules venv and ensurepip was found;' \
        'install one (Debian: apt install python3-venv) or name it in the variable PYTHON.'
}

# Prints the version of the torch that an interpreter has, if the project takes it (2.10 or newer).
setup_env_torch_of() {
    "$1" - 2>/dev/null <<'PY'
import re
from importlib.metadata import version
found = version('torch')
if tuple(int(part) for part in re.findall(r'\d+', found)[:2]) >= (2, 10):
    print(found)
PY
}

setup_env_hash() {
    { cat requirements/*.txt setup.py tools/setup_env.sh; pwd -P; } | cksum
}

setup_env() {
    local stack=$1 root stamp marker constraints base torch_version flags=()
    root=$(pwd -P)
    case $stack in
        fork) SETUP_ENV_DIR=$root/.venv constraints=constraints.txt ;;
        stock) SETUP_ENV_DIR=$root/.venv-stock constraints=constraints-stock.txt ;;
        *) setup_env_fail "the stack '$stack' is unknown; use fork or stock." ;;
    esac
    [ -f "requirements/$constraints" ] ||
        setup_env_fail "requirements/$constraints is not here; run this in the project's root."
    stamp=$SETUP_ENV_DIR/.cmt_deeplab_stamp marker=$SETUP_ENV_DIR/.cmt_deeplab_unfinished
    if [ ! -e "$marker" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(setup_env_hash)" ] &&
        "$SETUP_ENV_DIR/bin/python" -c '' 2>/dev/null; then
        PYTHON=$SETUP_ENV_DIR/bin/python
        return
    fi
    if command -v flock >/dev/null; then # of two scripts at once, the second waits for the stamp
        exec 9>"$SETUP_ENV_DIR.lock"
        if ! flock -n 9; then
            echo "Another process is setting up $SETUP_ENV_DIR; waiting for it." >&2
            flock 9
            exec 9>&-
            setup_env "$stack"
            return
        fi
    fi
    # What an interrupted set-up of ours left cannot be trusted; what the user made is completed.
    if [ -e "$SETUP_ENV_DIR" ] && { [ "$(cat "$marker" 2>/dev/null)" = ours ] ||
        ! "$SETUP_ENV_DIR/bin/python" -m pip --version >/dev/null 2>&1; }; then
        echo "Removing the unfinished $SETUP_ENV_DIR." >&2
        rm -rf "$SETUP_ENV_DIR"
    fi
    SETUP_ENV_STEP=0 SETUP_ENV_STEPS=4 SETUP_ENV_LOG=$SETUP_ENV_DIR/setup.log
    if [ ! -d "$SETUP_ENV_DIR" ]; then
        base=$(setup_env_find_python) || exit 1
        [ -z "$(setup_env_torch_of "$base")" ] || flags+=(--system-site-packages)
        mkdir -p "$SETUP_ENV_DIR"
        echo ours >"$marker"
        setup_env_step "environment $(basename "$SETUP_ENV_DIR") on $("$base" -V 2>&1)" 5 \
            "$base" -m venv ${flags[@]+"${flags[@]}"} "$SETUP_ENV_DIR"
    else
        SETUP_ENV_STEP=1
        [ -e "$marker" ] || { [ -e "$stamp" ] && echo ours || echo user; } >"$marker"
    fi
    rm -f "$stamp"
    PYTHON=$SETUP_ENV_DIR/bin/python
    local pip=("$PYTHON" -m pip install --disable-pip-version-check --no-input)
    # The versions to install are those of the constraints, except for a torch that is there and the
    # torchvision that has to match it.
    torch_version=$(setup_env_torch_of "$PYTHON")
    if [ -z "$torch_version" ]; then
        torch_version=$(sed -n 's/^torch==//p' "requirements/$constraints")
        setup_env_step "torch $torch_version" 30 \
            "${pip[@]}" "torch==$torch_version" 'setuptools<81' wheel
    else
        setup_env_step "torch $torch_version is installed and stays" 5 \
            "${pip[@]}" 'setuptools<81' wheel
    fi
    if [ "${torch_version%%+*}" = "$(sed -n 's/^torch==//p' "requirements/$constraints")" ]; then
        grep -v '^torch==' "requirements/$constraints" >"$SETUP_ENV_DIR/constraints.txt"
    else
        grep -v '^torch==\|^torchvision==' "requirements/$constraints" \
            >"$SETUP_ENV_DIR/constraints.txt"
    fi
    echo "torch==$(setup_env_torch_of "$PYTHON")" >>"$SETUP_ENV_DIR/constraints.txt"
    local mm=mminstall
    [ "$stack" = fork ] || mm=mminstall-stock
    setup_env_step "mmdet, its stack and the test tools ($mm.txt)" 60 \
        "${pip[@]}" -c "$SETUP_ENV_DIR/constraints.txt" \
        -r requirements/runtime.txt -r "requirements/$mm.txt" -r requirements/tests.txt
    setup_env_step 'panopticapi and this project' 10 bash -c '
        "$1" -m pip install --disable-pip-version-check --no-deps -r requirements/no_deps.txt &&
        "$1" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . &&
        "$1" -c "import cmt_deeplab, panopticapi, pycocotools"' - "$PYTHON"
    setup_env_hash >"$stamp"
    rm -f "$marker"
    if [ -e "$SETUP_ENV_DIR.lock" ]; then
        exec 9>&-
    fi
}
