# For the scripts beside this file: folders below build/ that are made once for each set of inputs.

umask 022 # what is installed is for everybody, whoever builds it
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
inside() { _entered 'true' "$1" "${@:2}"; }

# over FOLDER WORK COMMAND...: the same on top of FOLDER, which stays as it is: what is written goes to WORK/upper. Without
# overlayfs, WORK/upper begins as a copy.
over() {
  local lower=$1 work=$2
  shift 2
  mkdir -p "$work"/{upper,work,root}
  if has_overlay "$work"; then
    LOWER=$lower WORK=$work _entered \
      'mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work" "$1"' "$work/root" "$@"
  else
    cp -a --no-clobber "$lower/." "$work/upper"
    inside "$work/upper" "$@"
  fi
}

# has_overlay FOLDER: whether the kernel and the file system of FOLDER can do overlays
has_overlay() {
  local trial status=0
  trial=$(mktemp -d "$1/.overlay.XXXXXX")
  mkdir "$trial"/{lower,upper,work,all}
  unshare --mount mount -t overlay overlay \
    -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" "$trial/all" 2>/dev/null || status=1
  rm -rf "$trial"
  return "$status"
}

# _entered MOUNT FOLDER COMMAND...
_entered() {
  local before=$1
  shift
  unshare --mount --net --propagation private sh -ec "$before"'
    mount -t proc proc "$1/proc"
    root=$1
    shift
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8 \
      SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" RINGBACK_VERSION="$RINGBACK_VERSION" chroot "$root" "$@"' - "$@"
}
