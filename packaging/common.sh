# For the scripts beside this file: folders below build/ that are made once for each set of inputs.

readonly ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly BUILT=$ROOT/build/packaging
readonly SUITE=bookworm
readonly ARCHITECTURE=$(dpkg --print-architecture)

say() { echo "${0##*/}: $*" >&2; }

# key WORD...: a name for the words and for what is read from standard input
key() { { cat; printf '%s\n' "$@"; } | sha256sum | cut -c1-16; }

# cached NAME-KEY MAKER: print the path of build/packaging/NAME-KEY, which MAKER makes at the path that it is given. Two
# scripts that want the same one make it once, and what was interrupted is not taken for complete. What was made for other
# inputs goes after a day.
cached() {
  local made=$BUILT/$1 maker=$2
  mkdir -p "$BUILT"
  (
    flock 9
    if [[ ! -e $made ]]; then
      rm -rf "$made.new"
      say "making ${made#"$ROOT/"}"
      "$maker" "$made.new" >&2
      mv "$made.new" "$made"
      find "$BUILT" -maxdepth 1 -name "${1%-*}-*" ! -name "$1*" -mtime +0 -exec rm -rf {} +
    fi
  ) 9>"$made.lock"
  echo "$made"
}

# inside FOLDER COMMAND...: run a command with FOLDER as its root, with a /proc of its own and no network
inside() {
  local root=$1
  shift
  unshare --mount --net --propagation private sh -c \
    'mount -t proc proc "$1/proc" && root=$1 && shift && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8 \
     SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" RINGBACK_VERSION="$RINGBACK_VERSION" chroot "$root" "$@"' \
    - "$root" "$@"
}
