// Package packaging holds what is installed beside the programs and the units, and
// what makes packages of it all: of Debian with make deb, and a recipe for Yocto.
// Its tests compare each with what it is made from.
package packaging
