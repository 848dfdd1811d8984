# Debian's Python 3.11, under the names that the official image has.
FROM kanal-standin:debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv python3-pip >/dev/null && \
    ln -s /usr/bin/python3 /usr/local/bin/python && rm -rf /usr/lib/python3.11/EXTERNALLY-MANAGED /var/lib/apt/lists/*
CMD ["python3"]
