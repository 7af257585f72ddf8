package main

import "testing"

func TestOrder(t *testing.T) {
	tests := []struct {
		name     string
		arrivals []uint32 // of requests 1, 2, ...
		answered []uint32 // requests
		want     disorder
	}{
		{"nothing changes places", []uint32{10, 11, 12}, []uint32{1, 2, 3}, disorder{}},
		{"others arrive between", []uint32{10, 20, 30}, []uint32{1, 2, 3}, disorder{}},
		{"two requests change places", []uint32{11, 10, 12}, []uint32{2, 1, 3}, disorder{requests: 1}},
		{"two answers change places", []uint32{10, 11, 12}, []uint32{2, 1, 3}, disorder{answers: 1}},
		{"requests that change places are answered in order of sending", []uint32{11, 10, 12}, []uint32{1, 2, 3}, disorder{1, 1}},
		{"one answer comes last", []uint32{10, 11, 12}, []uint32{2, 3, 1}, disorder{answers: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o order
			for range tt.arrivals {
				o.number()
			}
			for _, request := range tt.answered {
				o.answered(request, tt.arrivals[request-1])
			}
			if o.found != tt.want {
				t.Errorf("%+v, want %+v", o.found, tt.want)
			}
		})
	}
}
