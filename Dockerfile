# The coordinator, and the reference branches beside it (--entrypoint python, -m branches.user …), in one image:
#   docker build -t dtm-coordinator .
#   docker run -p 36789:36789 -p 36790:36790 -v dtm-data:/var/lib/dtm dtm-coordinator

FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /opt/dtm
# The libraries first: they change seldom, and their layer is kept.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        extras = project['optional-dependencies']; needed = extras['console'] + extras['server']; \
        print(*project['dependencies'], *(it for it in needed if project['name'] not in it), sep='\n')" > needed.txt \
    && /opt/dtm/bin/pip install --no-cache-dir --quiet --constraint constraints.txt --requirement needed.txt
COPY README.md LICENSE ./
COPY coordinator ./coordinator
COPY sql ./sql
RUN /opt/dtm/bin/pip install --no-cache-dir --quiet --no-deps .
# No part of the distribution; they lie beside it for the compose file.
COPY branches /opt/dtm/reference/branches

FROM python:3.11-slim
RUN useradd --system --user-group --home-dir /var/lib/dtm --create-home dtm
COPY --from=build /opt/dtm /opt/dtm
# Where the image of the Go server has its program: what was written for that one starts this one.
RUN mkdir -p /app/dtm/configs && ln -s /opt/dtm/bin/dtm /app/dtm/dtm
COPY conf /etc/dtm/conf
COPY sql /etc/dtm/sql
ENV PATH=/opt/dtm/bin:$PATH \
    PYTHONPATH=/opt/dtm/reference \
    PYTHONUNBUFFERED=1 \
    DTM_HOST=0.0.0.0
USER dtm
# Without a configuration the store is a SQLite file in this folder.
WORKDIR /var/lib/dtm
VOLUME /var/lib/dtm
EXPOSE 36789 36790
# On the port of the configuration that the first process was started with, or of the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["dtm", "health", "--pid", "1"]
ENTRYPOINT ["dtm"]
