package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

const columns = 5 // buyers in a line

func printSale(out io.Writer, buyers []*buyer, took time.Duration) {
	fmt.Fprintln(out, "\nseats sold, by buyer:")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var sum buyer
	for i, b := range buyers {
		sum.seats, sum.orders, sum.conflicts = sum.seats+b.seats, sum.orders+b.orders, sum.conflicts+b.conflicts
		sum.refused, sum.failed = sum.refused+b.refused, sum.failed+b.failed
		fmt.Fprintf(w, "%s\t%d\t", b.name, b.seats)
		if i%columns == columns-1 || i == len(buyers)-1 {
			fmt.Fprintln(w)
		}
	}
	_ = w.Flush() // what out can't take is seen by nobody
	fmt.Fprintf(out, "\n%d seats in %v, by %d orders:\n", sum.seats, took.Round(time.Millisecond), sum.orders)
	fmt.Fprintf(out, "  %4d accepted\n", sum.orders-sum.conflicts-sum.refused-sum.failed)
	fmt.Fprintf(out, "  %4d conflicts: what the buyer had seen had changed; the buyer looked again\n", sum.conflicts)
	fmt.Fprintf(out, "  %4d refused: the decision saw that a seat was sold\n", sum.refused)
	fmt.Fprintf(out, "  %4d decided, but for a seat that another buyer had: the unique index kept all of the order out\n", sum.failed)
}

func printFindings(out io.Writer, f *findings) {
	fmt.Fprintf(out, "\nthe check: %d seats, %d sold, %d tickets of %d buyers\n", f.seats, f.sold, f.tickets, len(f.owners))
	fmt.Fprintf(out, "  seats with more than one owner:                         %d\n", len(f.twice))
	fmt.Fprintf(out, "  seats that more than one event of the log sells:        %d\n", f.decidedTwice)
	fmt.Fprintf(out, "  events that are stored, and that the tables don't show: %d (dead letters: %d)\n", f.failedFolds, f.deadLetters)
	if f.decidedTwice > 0 {
		fmt.Fprintln(out, "Decided as of its basis, an order sees nothing later, and so seats were sold that were gone.\n"+
			"Choose asofbasis only where it does not matter what happened in between.")
	}
}
