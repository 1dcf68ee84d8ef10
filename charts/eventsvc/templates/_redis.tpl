{{- define "eventsvc.redisFiles" -}}
redis.conf: |
  bind * -::*
  protected-mode no
  dir /data
  appendonly yes
  appendfsync {{ .Values.redis.appendfsync }}
  save ""
  maxmemory {{ .Values.redis.maxmemory }}
  maxmemory-policy noeviction
  {{- with .Values.redis.extraConfig }}
  {{- . | nindent 2 }}
  {{- end }}
start: |
  # The password comes in by standard input: it is in no file and no argument.
  password=${REDIS_PASSWORD//\\/\\\\}
  password=${password//\"/\\\"}
  exec redis-server - < <(cat /etc/redis-config/redis.conf; echo "requirepass \"$password\"")
{{- end }}
