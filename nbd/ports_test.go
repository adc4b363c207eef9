package nbd

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func never(uint16) bool { return false }

func TestPortRangeValidate(t *testing.T) {
	for _, good := range []PortRange{{10100, 10200}, {1, 1}, {65535, 65535}, {1, 65535}} {
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []PortRange{{}, {0, 10}, {11, 10}} {
		if bad.Validate() == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	if got := (PortRange{10100, 10200}).Len(); got != 101 {
		t.Errorf("length %d", got)
	}
}

func TestPortsRotate(t *testing.T) {
	r := PortRange{10100, 10103}
	for _, test := range []struct {
		after uint16
		n     int
		want  []uint16
	}{
		{0, 2, []uint16{10100, 10101}},
		{10101, 2, []uint16{10102, 10103}},
		{10102, 3, []uint16{10103, 10100, 10101}},
		{10103, 1, []uint16{10100}},
		{60000, 1, []uint16{10100}},
		{10100, 4, []uint16{10101, 10102, 10103, 10100}},
		{10100, 0, nil},
	} {
		got, err := r.Next(test.after, never, test.n)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%d behind %d: %v, %v", test.n, test.after, got, err)
		}
	}
	if _, err := r.Next(0, never, 5); !errors.Is(err, ErrNoFreePort) {
		t.Errorf("5 of 4: %v", err)
	}
	full := PortRange{65534, 65535}
	if got, err := full.Next(65535, never, 2); err != nil || !slices.Equal(got, []uint16{65534, 65535}) {
		t.Errorf("top of the range: %v, %v", got, err)
	}
}

// TestPortRotationProperties compares leases and releases with a model.
func TestPortRotationProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16Range(1, 65535).Draw(t, "first")
		last := uint16(min(int(first)+rapid.IntRange(0, 40).Draw(t, "width"), 65535))
		r := PortRange{first, last}
		taken := make(map[uint16]bool)
		var after uint16
		var handedOut []uint16 // newest last, each port once
		t.Repeat(map[string]func(*rapid.T){
			"lease": func(t *rapid.T) {
				n := rapid.IntRange(1, 6).Draw(t, "n")
				free := r.Len() - len(taken)
				ports, err := r.Next(after, func(p uint16) bool { return taken[p] }, n)
				if n > free {
					if !errors.Is(err, ErrNoFreePort) || len(ports) != 0 {
						t.Fatalf("%d of %d free: %v, %v", n, free, ports, err)
					}
					return
				}
				if err != nil || len(ports) != n {
					t.Fatalf("%d of %d free: %v, %v", n, free, ports, err)
				}
				for _, port := range ports {
					if !r.Contains(port) || taken[port] {
						t.Fatalf("port %d is not free in %s", port, r)
					}
					taken[port], after = true, port
					handedOut = append(slices.DeleteFunc(handedOut, func(p uint16) bool { return p == port }), port)
				}
			},
			"release": func(t *rapid.T) {
				if len(taken) == 0 {
					t.Skip()
				}
				ports := slices.Sorted(func(yield func(uint16) bool) {
					for port := range taken {
						if !yield(port) {
							return
						}
					}
				})
				delete(taken, rapid.SampledFrom(ports).Draw(t, "port"))
			},
			"": func(t *rapid.T) {
				// A port is reused only after all others that are free: if all are
				// free, the newest is the last of a full round.
				if len(taken) != 0 || len(handedOut) == 0 {
					return
				}
				round, err := r.Next(after, never, r.Len())
				if err != nil || round[len(round)-1] != handedOut[len(handedOut)-1] {
					t.Fatalf("behind %d: %v, %v", after, round, err)
				}
			},
		})
	})
}
