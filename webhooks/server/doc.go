// Package server serves webhooks over HTTPS: conversion now, and whatever else its caller mounts.
//
// It must not know what the handlers do, and must not make certificates: it reads them from files, and reads them again
// when they have changed, so that whoever rotates them need not restart anything. It ends gracefully when its context
// does: an API server that waits for an answer gets it.
package server
