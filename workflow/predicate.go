package workflow

// And holds when all of ps hold. They are asked in order, up to the first that does not hold.
func And(ps ...Predicate) Predicate {
	return func(s Segment) bool {
		for _, p := range ps {
			if !p(s) {
				return false
			}
		}
		return true
	}
}

// Or holds when one of ps holds. They are asked in order, up to the first that holds.
func Or(ps ...Predicate) Predicate {
	return func(s Segment) bool {
		for _, p := range ps {
			if p(s) {
				return true
			}
		}
		return false
	}
}

// Not holds when p does not.
func Not(p Predicate) Predicate {
	return func(s Segment) bool { return !p(s) }
}

// IsError is the Predicate that holds for a segment that is an error, a *Failure among them.
func IsError(s Segment) bool {
	_, ok := s.(error)
	return ok
}

// Is gives the Predicate that holds for a segment of type T, or one that implements T.
func Is[T any]() Predicate {
	return func(s Segment) bool {
		_, ok := s.(T)
		return ok
	}
}
