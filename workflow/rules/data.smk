rule generate_equations:
    output:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
    log:
        "<logs>/generate_equations/data_{data}.log",
    benchmark:
        "<benchmarks>/generate_equations/data_{data}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        version=version("data", "data"),
        code=fingerprint("generate_equations.py"),
    script:
        "../scripts/generate_equations.py"


rule label_domains:
    input:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
    output:
        train="<results>/domains/{domain}/data_{data}/train.csv",
        valid="<results>/domains/{domain}/data_{data}/valid.csv",
    log:
        "<logs>/label_domains/domain_{domain}_data_{data}.log",
    benchmark:
        "<benchmarks>/label_domains/domain_{domain}_data_{data}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        domain=version("domain", "domains"),
        code=fingerprint("label_domains.py"),
    script:
        "../scripts/label_domains.py"
