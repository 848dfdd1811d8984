# What the others stand on: Debian as debootstrap makes it, with the CA certificates and the pip settings of this machine.
FROM kanal-standin:debootstrap
LABEL kanal.standin=true
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
