#!/usr/bin/env bash
# Makes the agent's configuration out of environment variables and starts the agent in its place.
# docs/DOCKER.md explains every variable. Arguments go to the agent.
#
# Secrets are written only into files that nobody else can read, in a directory that should be a
# tmpfs, and never to standard output, but for an API key that was made here.
# shellcheck disable=SC2034 # variables are read by their names, too
set -euo pipefail
umask 077
export LC_ALL=C.UTF-8

artifacts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
runtime=${AGENT_RUNTIME_DIRECTORY:-/tmp/data-exchange-agent}
program=${AGENT_PROGRAM:-data-exchange-agent}

# Arguments that say which file is read and where the API listens; -d may stand before -c or -p in one word.
is_own_file=no host="" port="" previous=""
for argument in "$@"; do
    case $argument in
        -h | --help | -V | --version) exec "$program" "$@" ;;
        -c* | -dc* | --config | --config=*) is_own_file=yes ;;
        --host=*) host=${argument#*=} ;;
        --port=*) port=${argument#*=} ;;
        -p?* | -dp?*) port=${argument//[!0-9]/} ;;
    esac
    case $previous in
        --host) host=$argument ;;
        -p | -dp | --port) port=$argument ;;
    esac
    previous=$argument
done

# Options alone are those of `run`. What reads no configuration of an agent needs no variables.
command=run
if (($# > 0)) && [[ $1 != -* ]]; then command=$1 && shift; fi
case $command in
    run | check | test | doctor | extract | config) ;;
    *) exec "$program" "$command" "$@" ;;
esac

problems=()

# An integer of a range, or its default. TOML has no leading zeros.
integer() {
    local name=$1 value=${!1:-$2} lowest=$3 highest=$4
    if [[ $value =~ ^0*([0-9]{1,9})$ ]] && ((BASH_REMATCH[1] >= lowest && BASH_REMATCH[1] <= highest)); then
        value=${BASH_REMATCH[1]}
    elif [[ -n $value ]]; then
        problems+=("$name is not a whole number from $lowest to $highest")
    fi
    printf -v "$name" '%s' "$value"
}

# A value that is empty or of this pattern.
matching() {
    local value=${!1:-} pattern=$2 expected=$3
    [[ -z $value || $value =~ ^($pattern)$ ]] || problems+=("$1 is not $expected")
}

# A value that has to be there, unless a variable of the agent's own says it in its place.
needed() {
    [[ -n ${!1:-} || -n "${!DATA_EXCHANGE_AGENT__CONNECTIONS__*}" ]] || problems+=("$1 is missing: $2 needs it")
}

# The agent refuses a file with anything else as a whole.
utf8() {
    local name
    for name in "$@"; do
        [[ -n ${!name:-} ]] || continue
        printf '%s' "${!name}" | iconv -f UTF-8 -t UTF-16 >/dev/null 2>&1 || problems+=("$name is not UTF-8")
    done
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
# without a key. The file is a new one: an older one may be open to others.
fill() {
    local template=$1 target=$2 has_references=$3 list="" name
    shift 3
    rm -f "$target"
    for name in "$@"; do list+="\${$name} "; done
    # Exported and not handed over as arguments, which every user of the machine can see.
    (
        for name in "$@"; do export "$name=$(escaped "${!name:-}" "$has_references")"; done
        exec envsubst "$list"
    ) <"$template" |
        sed -E '/^#/d; /^[a-z_]+ = ("")?$/d' |
        awk '/^\[/ { header = $0; next } NF { if (header != "") { print ""; print header; header = "" } print }' >"$target"
}

settings=(
    TASK_SOURCE WORKER_COUNT AGENT_AFFINITY AGENT_HOST AGENT_PORT AGENT_API_KEY AGENT_METRICS_KEY
    AGENT_METRICS_SCOPES SNOWFLAKE_CONNECTION_NAME DATA_SOURCE_NAME DATA_SOURCE_KIND DATA_SOURCE_USERNAME
    DATA_SOURCE_PASSWORD DATA_SOURCE_DATABASE DATA_SOURCE_HOST DATA_SOURCE_PORT S3_BUCKET S3_REGION
    S3_ENDPOINT_URL S3_PATH_STYLE
)
connection=(
    SNOWFLAKE_CONNECTION_NAME SNOWFLAKE_ACCOUNT SNOWFLAKE_USER SNOWFLAKE_PASSWORD SNOWFLAKE_WAREHOUSE
    SNOWFLAKE_ROLE SNOWFLAKE_DATABASE SNOWFLAKE_SCHEMA
)

AGENT_HOST=${AGENT_HOST:-0.0.0.0}
matching AGENT_HOST 'localhost|[0-9.]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*' "an IP address or localhost"
integer AGENT_PORT 5000 1 65535

# A connection file that was mounted, or given as a text, wins over the variables of a connection.
is_connection_made=no
if [[ -n ${SNOWFLAKE_ACCOUNT:-} ]]; then
    SNOWFLAKE_CONNECTION_NAME=${SNOWFLAKE_CONNECTION_NAME:-default}
    if [[ $SNOWFLAKE_CONNECTION_NAME != "@SPCS_CONNECTION" && -z ${SNOWFLAKE_HOME:-}${SNOWFLAKE_CONNECTIONS:-} &&
        ! -e ~/.snowflake/config.toml && ! -e ~/.snowflake/connections.toml ]]; then
        is_connection_made=yes
        utf8 "${connection[@]}"
    fi
fi

if [[ $is_own_file == no ]]; then
    if [[ $command == run && ${AGENT_AFFINITY:-} != *[![:space:]]* ]]; then
        problems+=("AGENT_AFFINITY is missing: it says which tasks of the queue this agent takes")
    fi
    integer WORKER_COUNT 1 1 100
    for name in AGENT_API_KEY AGENT_METRICS_KEY; do
        matching "$name" '.{16,}' "at least 16 characters long; make one with: openssl rand -hex 32"
    done
    if [[ -n ${AGENT_METRICS_KEY:-} && $AGENT_METRICS_KEY == "${AGENT_API_KEY:-}" ]]; then
        problems+=("AGENT_METRICS_KEY is the same as AGENT_API_KEY, so it would not only read")
    fi
    AGENT_METRICS_SCOPES=${AGENT_METRICS_KEY:+read}

    # Without a database there is no section of it: tasks then name connections of other variables.
    DATA_SOURCE_KIND=${DATA_SOURCE_KIND:-sqlserver}
    matching DATA_SOURCE_KIND 'sqlserver|postgresql|mysql|mariadb|teradata|db2|redshift' \
        "a kind that variables can describe; mount a configuration for others, see docs/DOCKER.md"
    DATA_SOURCE_NAME=${DATA_SOURCE_NAME:-$DATA_SOURCE_KIND}
    matching DATA_SOURCE_NAME '[A-Za-z0-9_-]+' "made of letters, digits, _ and - alone"
    integer DATA_SOURCE_PORT "" 1 65535
    if [[ -z ${DATA_SOURCE_HOST:-}${DATA_SOURCE_DATABASE:-}${DATA_SOURCE_USERNAME:-} ]]; then
        DATA_SOURCE_KIND="" DATA_SOURCE_PORT="" DATA_SOURCE_PASSWORD=""
    fi
    kind=$DATA_SOURCE_KIND
    [[ $kind != @(sqlserver|postgresql|db2|redshift) ]] || needed DATA_SOURCE_DATABASE "$kind"
    [[ $kind != @(sqlserver|postgresql|mysql|mariadb) ]] || needed DATA_SOURCE_USERNAME "$kind"
    [[ $kind != redshift ]] || needed DATA_SOURCE_HOST "$kind"

    # Stores that are not Amazon's seldom have a host name for each bucket, and no network of containers has.
    S3_PATH_STYLE=${S3_PATH_STYLE:-${S3_ENDPOINT_URL:+true}}
    matching S3_PATH_STYLE 'true|false' "true or false"
    [[ -z ${S3_REGION:-}$S3_PATH_STYLE ]] || needed S3_BUCKET "a target of S3"

    # With a connection to Snowflake the tasks come from there, else from POST /tasks.
    TASK_SOURCE=${TASK_SOURCE:-${SNOWFLAKE_CONNECTION_NAME:+snowflake_stored_procedure}}
    TASK_SOURCE=${TASK_SOURCE:-api}
    matching TASK_SOURCE 'api|snowflake_stored_procedure' "api or snowflake_stored_procedure"
    if [[ $TASK_SOURCE == snowflake_stored_procedure &&
        -z ${SNOWFLAKE_CONNECTION_NAME:-}${!DATA_EXCHANGE_AGENT__TASK_SOURCE__*} ]]; then
        problems+=("TASK_SOURCE needs SNOWFLAKE_CONNECTION_NAME or SNOWFLAKE_ACCOUNT")
    fi
    utf8 "${settings[@]}"
fi

if ((${#problems[@]} > 0)); then
    printf 'docker-entrypoint.sh: %s\n' "${problems[@]}" >&2
    exit 2
fi

mkdir -p "$runtime"
chmod 0700 "$runtime"
if [[ $is_connection_made == yes ]]; then
    mkdir -p "$runtime/snowflake"
    fill "$artifacts/snowflake.config.template.toml" "$runtime/snowflake/config.toml" no "${connection[@]}"
    export SNOWFLAKE_HOME=$runtime/snowflake
fi

# In a container the address is that of the container, whatever a file says. healthcheck.sh asks there.
: "${DATA_EXCHANGE_AGENT__SERVER__HOST:=$AGENT_HOST}" "${DATA_EXCHANGE_AGENT__SERVER__PORT:=$AGENT_PORT}"
if [[ $command == run ]]; then
    printf '%s %s\n' "${host:-$DATA_EXCHANGE_AGENT__SERVER__HOST}" "${port:-$DATA_EXCHANGE_AGENT__SERVER__PORT}" \
        >"$runtime/address"
fi

# A file that was mounted may refer to any variable.
if [[ $is_own_file == yes ]]; then
    export DATA_EXCHANGE_AGENT__SERVER__HOST DATA_EXCHANGE_AGENT__SERVER__PORT
    exec "$program" "$command" "$@"
fi

if [[ -z ${AGENT_API_KEY:-} ]]; then
    AGENT_API_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    if [[ $command == run ]]; then
        printf 'docker-entrypoint.sh: AGENT_API_KEY is not set; callers of this container use the key %s\n' \
            "$AGENT_API_KEY" >&2
    fi
fi
configuration=$runtime/configuration.toml
fill "$artifacts/configuration.template.toml" "$configuration" yes "${settings[@]}"

# The agent reads them from the files; its environment is visible to more programs than those.
unset AGENT_API_KEY AGENT_METRICS_KEY DATA_SOURCE_PASSWORD SNOWFLAKE_PASSWORD
if [[ $command == config ]]; then exec "$program" config "$@" --config "$configuration"; fi
exec "$program" "$command" --config "$configuration" "$@"
