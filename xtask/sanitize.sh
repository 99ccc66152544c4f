#!/bin/sh
# Compiles the crates of the workspace with the address sanitizer, which needs an unstable flag. The
# sanitizer intercepts the allocations of all crates, so the dependencies need not be compiled again.
case " $* " in
*" --crate-name ___ "* | *" -vV "*) exec "$@" ;; # cargo queries the compiler
*) RUSTC_BOOTSTRAP=1 exec "$@" -Zsanitizer=address ;;
esac
