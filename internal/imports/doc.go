// Package imports is a test of the house: who may import whom. A package that
// no rule names fails it, so that its place is decided when it is made.
package imports
