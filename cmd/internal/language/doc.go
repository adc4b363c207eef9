// Package language has no code, only tests. They keep the worst words out of what a person reads: string literals of the programs,
// the documents, the default configuration and what the packages bring.
//
// The words are in words_test.go, each with what to write instead. They are riddles, words that a reader does not find in his field,
// old English, British spelling, and second names for what has one already. It is no spell checker and no judge of style: a text that
// passes may still be bad.
package language
