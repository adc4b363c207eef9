// Package language has no code, only tests. They keep the worst words out of the texts that a person reads: string literals of the
// programs, documents, the default configuration and the files of the packages.
//
// words_test.go lists the words, each with its replacement: riddles, old English, British spelling, and second names for things that
// already have one. It is not a spell checker and does not judge style: a text that passes can still be bad.
package language
