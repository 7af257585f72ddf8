// Package imports tests the rules that every package follows: its rows say which packages a
// package may import, and its checks search the sources for constructs that the rules forbid
// (stored contexts, contexts that start below main, recover without a stack, sleeping tests,
// unsafe outside of two files). A package without a row fails it, so that its place is decided
// when it is made.
package imports
