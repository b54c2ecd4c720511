{{- define "deskline.services" -}}archive autoreply router sla{{- end -}}

{{- define "deskline.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* (root, component) */}}
{{- define "deskline.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "deskline.labels" -}}
{{ include "deskline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* (root, tag) */}}
{{- define "deskline.image" -}}
{{- $image := .root.Values.image -}}
{{ $image.repository }}:{{ .tag | default $image.tag | default .root.Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "deskline.sasl" -}}{{ if hasPrefix "SASL_" .Values.kafka.securityProtocol }}yes{{ end }}{{- end -}}
{{- define "deskline.tls" -}}{{ if hasSuffix "SSL" .Values.kafka.securityProtocol }}yes{{ end }}{{- end -}}

{{- define "deskline.kafkaEnvironment" -}}
- {name: DESKLINE_BOOTSTRAP_SERVERS, value: {{ .root.Values.kafka.bootstrapServers | quote }}}
- {name: DESKLINE_TOPIC_PREFIX, value: {{ .root.Values.topicPrefix | quote }}}
- {name: DESKLINE_KAFKA_SECURITY_PROTOCOL, value: {{ .root.Values.kafka.securityProtocol }}}
{{- if include "deskline.sasl" .root }}
- {name: DESKLINE_KAFKA_SASL_MECHANISM, value: {{ .root.Values.kafka.saslMechanism }}}
- name: DESKLINE_KAFKA_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: kafka-username}}
- {name: DESKLINE_KAFKA_PASSWORD_FILE, value: /run/secrets/deskline/kafka-password}
{{- end }}
{{- if .root.Values.kafka.caSecret }}
- {name: DESKLINE_KAFKA_CA_FILE, value: /run/secrets/kafka-ca/ca.crt}
{{- end }}
{{- end -}}

{{/* (root, login): without a password, which comes from a file */}}
{{- define "deskline.postgresEnvironment" -}}
{{- $postgres := .root.Values.postgres -}}
{{- $verified := hasPrefix "verify-" $postgres.sslmode -}}
{{- if and $verified (not $postgres.caSecret) }}{{ fail (printf "postgres.sslmode %s needs postgres.caSecret" $postgres.sslmode) }}{{ end -}}
- name: DESKLINE_POSTGRES_DSN
  value: "postgresql://{{ .login }}@{{ $postgres.host }}:{{ $postgres.port }}/{{ $postgres.database }}?sslmode={{ $postgres.sslmode }}{{ if $verified }}&sslrootcert=/run/secrets/postgres-ca/ca.crt{{ end }}"
- {name: DESKLINE_POSTGRES_PASSWORD_FILE, value: /run/secrets/deskline/postgres-password}
{{- end -}}

{{- define "deskline.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: secret, mountPath: /run/secrets/deskline, readOnly: true}
{{- if .Values.kafka.caSecret }}
- {name: kafka-ca, mountPath: /run/secrets/kafka-ca, readOnly: true}
{{- end }}
{{- if .Values.postgres.caSecret }}
- {name: postgres-ca, mountPath: /run/secrets/postgres-ca, readOnly: true}
{{- end }}
{{- end -}}

{{/* (root, secret) */}}
{{- define "deskline.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: secret
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- with .root.Values.kafka.caSecret }}
- name: kafka-ca
  secret: {secretName: {{ . }}, defaultMode: 0444}
{{- end }}
{{- with .root.Values.postgres.caSecret }}
- name: postgres-ca
  secret: {secretName: {{ . }}, defaultMode: 0444}
{{- end }}
{{- end -}}

{{- define "deskline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "deskline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
