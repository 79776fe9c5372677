#!/usr/bin/env bash
# Makes the agent's configuration out of environment variables and starts the agent in its place.
# docs/DOCKER.md explains every variable. Arguments go to the agent.
#
# Secrets are written only into files that nobody else can read, in a directory that should be a
# tmpfs, and never to standard output, but for an API key that was made here.
set -euo pipefail
umask 077

artifacts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
runtime=${AGENT_RUNTIME_DIRECTORY:-/tmp/data-exchange-agent}
program=${AGENT_PROGRAM:-data-exchange-agent}

problems=()

# Options alone are those of `run`. Help needs no configuration, and a mounted file is used in place of
# the one that is made here.
configuration=(--config "$runtime/configuration.toml")
for argument in "$@"; do
    case $argument in
        -h | --help | -V | --version) exec "$program" "$@" ;;
        -c | -c* | --config | --config=*) configuration=() ;;
    esac
done
command=run
if (($# > 0)) && [[ $1 != -* ]]; then command=$1 && shift; fi

# An integer, or its default.
integer() {
    local name=$1 value=${!1:-$2}
    [[ $value =~ ^[0-9]{1,9}$ ]] || problems+=("$name is not a whole number")
    printf -v "$name" '%s' "$value"
}

# A name that becomes part of a section's header, and so may not be anything.
bare_name() {
    local name=$1 value=${!1:-$2}
    [[ $value =~ ^[A-Za-z0-9_-]+$ ]] || problems+=("$name has other characters than letters, digits, _ and -")
    printf -v "$name" '%s' "$value"
}

# One value as the inside of a TOML string: quotes, backslashes and control characters are escaped.
# So is "${" where the reader would take it for a reference.
escaped() {
    local text=$1 has_references=$2 result="" character code index
    for ((index = 0; index < ${#text}; index++)); do
        character=${text:index:1}
        case $character in
            \\) result+="\\\\" ;;
            \") result+='\"' ;;
            $'\n') result+='\n' ;;
            $'\r') result+='\r' ;;
            $'\t') result+='\t' ;;
            [[:cntrl:]])
                printf -v code '\\u%04X' "'$character"
                result+=$code
                ;;
            \$)
                if [[ $has_references == yes && ${text:index+1:1} == "{" ]]; then result+='$'; fi
                result+='$'
                ;;
            *) result+=$character ;;
        esac
    done
    printf '%s' "$result"
}

# Fills a template with exactly the listed variables, and drops keys without a value and sections
# without a key.
fill() {
    local template=$1 target=$2 has_references=$3 list="" name
    shift 3
    for name in "$@"; do list+="\${$name} "; done
    # Exported and not handed over as arguments, which every user of the machine can see.
    (
        for name in "$@"; do export "$name=$(escaped "${!name:-}" "$has_references")"; done
        exec envsubst "$list"
    ) <"$template" |
        sed -E '/^#/d; /^[a-z_]+ = ("")?$/d' |
        awk '/^\[/ { header = $0; next } NF { if (header != "") { print ""; print header; header = "" } print }' >"$target"
}

export LC_ALL=C.UTF-8
if [[ -z ${AGENT_AFFINITY:-} && $command == run ]]; then
    problems+=("AGENT_AFFINITY is missing: it says which tasks of the queue this agent takes")
fi
integer WORKER_COUNT 1
integer AGENT_PORT 5000
AGENT_HOST=${AGENT_HOST:-0.0.0.0}

# Without a database there is no section of it: tasks then name connections of a mounted file.
DATA_SOURCE_KIND=${DATA_SOURCE_KIND:-sqlserver}
bare_name DATA_SOURCE_NAME "$DATA_SOURCE_KIND"
declare -A default_ports=([sqlserver]=1433 [postgresql]=5432 [mysql]=3306 [mariadb]=3306 [teradata]=1025)
if [[ -n ${DATA_SOURCE_HOST:-}${DATA_SOURCE_DATABASE:-}${DATA_SOURCE_USERNAME:-} ]]; then
    integer DATA_SOURCE_PORT "${default_ports[$DATA_SOURCE_KIND]:-1433}"
else
    # Read by `fill`, by their names.
    # shellcheck disable=SC2034
    DATA_SOURCE_KIND="" DATA_SOURCE_PORT=""
fi

# Stores that are not Amazon's seldom have a host name for each bucket, and no network of containers has.
S3_PATH_STYLE=${S3_PATH_STYLE:-${S3_ENDPOINT_URL:+true}}
[[ $S3_PATH_STYLE =~ ^(true|false)?$ ]] || problems+=("S3_PATH_STYLE is neither true nor false")

# With a connection to Snowflake the tasks come from there, else from POST /tasks.
snowflake=${SNOWFLAKE_CONNECTION_NAME:-}
if [[ -z $snowflake && -n ${SNOWFLAKE_ACCOUNT:-} ]]; then
    SNOWFLAKE_CONNECTION_NAME=default
elif [[ -n $snowflake && $snowflake != "@SPCS_CONNECTION" ]]; then
    bare_name SNOWFLAKE_CONNECTION_NAME ""
fi
if [[ -z ${TASK_SOURCE:-} ]]; then
    TASK_SOURCE=api
    if [[ -n ${SNOWFLAKE_CONNECTION_NAME:-} ]]; then TASK_SOURCE=snowflake_stored_procedure; fi
fi

if ((${#problems[@]} > 0)); then
    printf 'docker-entrypoint.sh: %s\n' "${problems[@]}" >&2
    exit 2
fi

if [[ -z ${AGENT_API_KEY:-} ]]; then
    AGENT_API_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    if [[ $command == run && ${#configuration[@]} -gt 0 ]]; then
        printf 'docker-entrypoint.sh: AGENT_API_KEY is not set; callers of this container use the key %s\n' \
            "$AGENT_API_KEY" >&2
    fi
fi

mkdir -p "$runtime"
chmod 0700 "$runtime"
fill "$artifacts/configuration.template.toml" "$runtime/configuration.toml" yes \
    TASK_SOURCE WORKER_COUNT AGENT_AFFINITY AGENT_HOST AGENT_PORT AGENT_API_KEY SNOWFLAKE_CONNECTION_NAME \
    DATA_SOURCE_NAME DATA_SOURCE_KIND DATA_SOURCE_USERNAME DATA_SOURCE_PASSWORD DATA_SOURCE_DATABASE \
    DATA_SOURCE_HOST DATA_SOURCE_PORT S3_BUCKET S3_REGION S3_ENDPOINT_URL S3_PATH_STYLE

# A mounted connection file wins over variables.
if [[ -n ${SNOWFLAKE_ACCOUNT:-} && ${SNOWFLAKE_CONNECTION_NAME:-} != "@SPCS_CONNECTION" && -z ${SNOWFLAKE_HOME:-} ]]; then
    mkdir -p "$runtime/snowflake"
    fill "$artifacts/snowflake.config.template.toml" "$runtime/snowflake/config.toml" no \
        SNOWFLAKE_CONNECTION_NAME SNOWFLAKE_ACCOUNT SNOWFLAKE_USER SNOWFLAKE_PASSWORD SNOWFLAKE_WAREHOUSE \
        SNOWFLAKE_ROLE SNOWFLAKE_DATABASE SNOWFLAKE_SCHEMA
    export SNOWFLAKE_HOME=$runtime/snowflake
fi

# The agent reads them from the files; its environment is visible to more programs than those.
unset AGENT_API_KEY DATA_SOURCE_PASSWORD SNOWFLAKE_PASSWORD
case $command in
    run | check | test | doctor | extract) exec "$program" "$command" "${configuration[@]}" "$@" ;;
    config) exec "$program" config "$@" "${configuration[@]}" ;;
    *) exec "$program" "$command" "$@" ;;
esac
