//! Guests for the tests of `engine/plugin`, one behaviour each, in `examples/`. Most are hostile; `probe` shows what a
//! well-behaved plugin gets to see. `cargo xtask components` makes components of them, in `target/components/guests`.
//! This library itself is empty.
