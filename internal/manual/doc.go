// Package manual writes manual pages, in the macros of man(7), from what this
// project says in other places: the help of its programs and the documents. It is
// for tests: each makes a page and compares it with the one that is stored and
// installed, so that none of them is out of date.
package manual
