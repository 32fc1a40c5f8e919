// Package k3sbox is test support: a stand-in for K3s (command k3s below, and
// install.sh), and the box, a container that boots systemd and plays the
// machine on which K3s is installed. README.md says what the stand-in leaves
// out. The package itself has the build tag e2e.
package k3sbox
