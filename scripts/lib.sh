# Shared by the scripts. Source it after `cd` to the top of the repository.
# shellcheck shell=bash

WASM_TARGET=wasm32-unknown-unknown
RUST_MIN=1.94
NODE_MIN=20

# How long to wait for rustup, which now and then never answers.
RUSTUP_SECONDS=60

# A line of progress, with the seconds since the script began.
say() { printf '[%4ss] %s\n' "$SECONDS" "$*"; }

# One line, and the end.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# need COMMAND HOW-TO-GET-IT
need() { command -v "$1" >/dev/null || die "$1 is missing: $2"; }

need_rust() {
    need cargo "install Rust $RUST_MIN or newer, see https://rustup.rs"
    need rustc "install Rust $RUST_MIN or newer, see https://rustup.rs"
    need cc "install a C compiler, for example with \`apt-get install gcc\`"
    local version
    version=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$RUST_MIN" "$version" | sort -V | head -n 1)" = "$RUST_MIN" ] ||
        die "rustc is $version, but $RUST_MIN is needed: run \`rustup update\`"
}

need_node() {
    need node "install Node.js $NODE_MIN or newer, see https://nodejs.org"
    need npm "it comes with Node.js, see https://nodejs.org"
    local version
    version=$(node --version)
    version=${version#v}
    [ "${version%%.*}" -ge "$NODE_MIN" ] || die "node is $version, but $NODE_MIN is needed, see https://nodejs.org"
}

# rustup with an end, whether there is one or not.
rustup_or_not() {
    command -v rustup >/dev/null || return 1
    say "rustup $* (at most $RUSTUP_SECONDS s)"
    timeout "$RUSTUP_SECONDS" rustup "$@"
}

has_wasm_std() { compgen -G "$1/libstd-*.rlib" >/dev/null; }

# The standard library that the actors are compiled with. Its bytes are in the modules, so in their code CIDs.
ensure_wasm_target() {
    local sysroot lib
    sysroot=$(rustc --print sysroot)
    lib=$sysroot/lib/rustlib/$WASM_TARGET/lib
    if ! has_wasm_std "$lib"; then
        rustup_or_not target add "$WASM_TARGET" || say "rustup gave no $WASM_TARGET"
        has_wasm_std "$lib" || build_wasm_std "$sysroot" "$lib"
    fi
    if [ -e "$lib/built-from-source" ]; then
        say "std for $WASM_TARGET: built from source here; the actors' code CIDs differ from those with the prebuilt one"
    else
        say "std for $WASM_TARGET: the prebuilt one of $(rustc --version)"
    fi
}

# build_wasm_std SYSROOT LIB
build_wasm_std() {
    local sysroot=$1 lib=$2 work
    local how="run \`rustup target add $WASM_TARGET\`, or install the sources of exactly this rustc (rust-src)"
    if [ ! -d "$sysroot/lib/rustlib/src/rust/library" ]; then
        rustup_or_not component add rust-src || say "rustup gave no rust-src"
    fi
    [ -d "$sysroot/lib/rustlib/src/rust/library" ] || die "rustc has no std for $WASM_TARGET, and no sources of it: $how"
    mkdir -p "$lib" && [ -w "$lib" ] || die "$lib can't be written to: $how as its owner"

    say "building std for $WASM_TARGET from source (a minute or two)"
    work=$(mktemp -d)
    mkdir "$work/src"
    printf '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n' >"$work/Cargo.toml"
    printf '#![no_std]\n' >"$work/src/lib.rs"
    # Without the bitcode, fat LTO of the actors fails.
    if ! (cd "$work" && RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$work/target \
        cargo build --release -Zbuild-std=std,panic_abort,panic_unwind --target "$WASM_TARGET"); then
        rm -rf "$work"
        die "std for $WASM_TARGET can't be built from source: $how"
    fi
    rm -f "$work/target/$WASM_TARGET/release/deps/"libempty-*
    cp "$work/target/$WASM_TARGET/release/deps/"*.rlib "$lib/"
    : >"$lib/built-from-source"
    rm -rf "$work"
}

# Where cargo puts the programs of the dev profile.
programs() { printf '%s/debug' "${CARGO_TARGET_DIR:-target}"; }
