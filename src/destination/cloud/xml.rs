//! The small part of XML that stores answer with: elements and their texts.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::failure::Failure;

/// Elements inside elements; a store needs four levels.
const MAX_DEPTH: usize = 32;

/// An element with what is in it. Attributes are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::destination) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub(in crate::destination) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Every child of this name.
    pub(in crate::destination) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name, when there is some.
    pub(in crate::destination) fn text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }

    pub(in crate::destination) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The root element of a document.
pub(in crate::destination) fn parse(text: &str) -> Result<Element, Failure> {
    read(text).ok_or_else(|| Failure::unreadable("the answer of the store is not the XML that it should be"))
}

fn read(text: &str) -> Option<Element> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.len() == MAX_DEPTH {
                    return None;
                }
                let name = str::from_utf8(start.local_name().as_ref()).ok()?.to_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::Empty(start) => {
                let name = str::from_utf8(start.local_name().as_ref()).ok()?.to_owned();
                let element = Element { name, ..Element::default() };
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Some(element),
                }
            }
            Event::End(_) => {
                let element = open.pop()?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Some(element),
                }
            }
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text.decode().ok()?);
                }
            }
            Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::GeneralRef(reference) => {
                let element = open.last_mut()?;
                match reference.resolve_char_ref().ok()? {
                    Some(character) => element.text.push(character),
                    None => element.text.push_str(resolve_predefined_entity(&reference.decode().ok()?)?),
                }
            }
            Event::Eof => return None,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_texts_are_read() {
        let text = "\u{feff}<?xml version=\"1.0\"?><List xmlns=\"x\"><Item><Name>a&amp;b &#x4e;&#10;</Name>\
                    </Item>\n<Item><Name>c</Name></Item><Next/></List>";
        let list = parse(text).expect("good XML");
        assert!(list.is("List"));
        let names: Vec<_> = list.all("Item").filter_map(|item| item.text("Name")).collect();
        assert_eq!(names, ["a&b N\n", "c"]);
        assert_eq!((list.text("Next"), list.text("Other")), (None, None));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "text", "<a>", "<a></b>", "<a>&unknown;</a>", &"<a>".repeat(1000)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
