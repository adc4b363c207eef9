package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// parseVMs reads JSON or CSV. An error begins with its line.
func parseVMs(data []byte, format string) ([]importedVM, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // the byte order mark that spreadsheets write
	start := bytes.TrimSpace(data)
	switch {
	case len(start) == 0:
		return nil, errors.New("1: the file is empty")
	case format == "json" || format == "auto" && (start[0] == '{' || start[0] == '['):
		return parseJSONVMs(data)
	}
	return parseCSVVMs(data)
}

// parseJSONVMs reads a page of vm list, a list of VMs, or VMs one after another.
func parseJSONVMs(data []byte) (list []importedVM, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var value json.RawMessage
		if err := dec.Decode(&value); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%d: %w", lineAt(data, errorOffset(err, data, dec.InputOffset())), err)
		}
		at := dec.InputOffset() - int64(len(value))
		var page struct {
			VMs json.RawMessage `json:"vms"`
		}
		switch {
		case value[0] == '[':
			list = append(list, jsonVMs(data, value, at)...)
		case json.Unmarshal(value, &page) == nil && len(page.VMs) > 0 && page.VMs[0] == '[':
			list = append(list, jsonVMs(data, page.VMs, at+int64(bytes.Index(value, page.VMs)))...)
		default:
			list = append(list, jsonVM(value, lineAt(data, at)))
		}
	}
}

// jsonVMs reads the elements of an array, which begins at an offset of the file.
func jsonVMs(data []byte, array json.RawMessage, at int64) (list []importedVM) {
	dec := json.NewDecoder(bytes.NewReader(array))
	_, _ = dec.Token() // the bracket; the array is valid JSON
	for dec.More() {
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			break
		}
		list = append(list, jsonVM(value, lineAt(data, at+dec.InputOffset()-int64(len(value)))))
	}
	return list
}

func jsonVM(value json.RawMessage, line int) importedVM {
	v := importedVM{Line: line}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	err := dec.Decode(&v.vm)
	v.VMName = v.vm.VMName
	if err != nil {
		v.refuse(fmt.Errorf("want a VM in the form of vm show -o json: %s", strings.TrimPrefix(err.Error(), "json: ")))
	}
	return v
}

// lineAt is the number of the line at an offset.
func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

// errorOffset is the offset of an error in JSON.
func errorOffset(err error, data []byte, otherwise int64) int64 {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset
	case errors.Is(err, io.ErrUnexpectedEOF):
		return int64(len(data))
	}
	return otherwise
}
