// Package enrolment tests, on a real plane and with the built agent, how members' agents come by their certificates: who
// gets one, who does not, and what becomes of an agent that is killed on the way.
package enrolment
