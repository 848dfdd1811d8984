# Debian's nginx, with the official image's user id and its filling in of /etc/nginx/templates.
FROM kanal-standin:debian
RUN groupadd --system --gid 101 nginx && useradd --system --uid 101 --gid nginx nginx && \
    apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light gettext-base curl >/dev/null && \
    rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled && \
    ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log && \
    rm -rf /var/lib/nginx && mkdir /var/cache/nginx && ln -s /var/cache/nginx /var/lib/nginx && \
    sed -i 's/^user .*/user nginx;/' /etc/nginx/nginx.conf
COPY nginx.sh /docker-entrypoint.sh
ENTRYPOINT ["sh", "/docker-entrypoint.sh"]
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
