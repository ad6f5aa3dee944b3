package main

var allocations = benchmark{
	goals: []goal{
		atMost("embedded-allocs", 40, 20).absolute(),
		shown("file-bytes-per-event").absolute(),
	},
	run: func(e *env) ([]float64, error) {
		u, err := embedded(e, e.n).run(0)
		if err != nil {
			return nil, err
		}
		e.say("  %v", u)
		return []float64{u.allocs(), float64(u.disk) / float64(u.n)}, nil
	},
}
