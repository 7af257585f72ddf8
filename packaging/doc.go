// Package packaging holds the manual pages, the files from which make deb makes Debian packages,
// and a recipe for Yocto. Its tests compare each file with its source.
package packaging
