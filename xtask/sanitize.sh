#!/bin/sh
# Compiles the workspace's own crates for the address sanitizer, whose flag asks for a compiler that
# calls itself unstable. It intercepts every allocation, also those of crates that are compiled as
# they always are, so that those need not be compiled anew.
case " $* " in
*" --crate-name ___ "* | *" -vV "*) exec "$@" ;; # cargo asks what the compiler can do
*) RUSTC_BOOTSTRAP=1 exec "$@" -Zsanitizer=address ;;
esac
