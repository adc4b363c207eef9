package storage

import (
	"encoding/json"
	"fmt"
)

// A Request asks for one operation. Number is unique on the connection.
type Request struct {
	Number    uint64
	Operation string
	Arguments []byte // JSON
}

// A Response is the result of an operation.
type Response struct {
	Result []byte // JSON; also together with an error, if the operation returns both
	Error  *Failure
	Moved  Movement // since the last question about the progress
}

// Moved is how far operations have come since the last question, by their numbers: bytes read of a digest, the fraction of a merge.
type Moved map[uint64]Movement

// A Movement is the progress of one operation.
type Movement struct {
	Bytes    int64   // of a file, since the last question
	Read     int64   // those of them that were read: not the holes
	Fraction float64 // from 0 to 1
}

// encode makes JSON and not gob, because gob loses pointers to zero values.
func encode(what string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be encoded: %w", what, err)
	}
	return text, nil
}

func decode(what string, text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: cannot be decoded: %w", what, err)
	}
	return nil
}
