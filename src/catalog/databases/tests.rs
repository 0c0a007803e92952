use super::*;
use crate::catalog::testing::Store;
use crate::testing::TestResult;

fn new(name: &str, id: u128) -> NewDatabase {
    NewDatabase { id: Uuid::from_u128(id), name: name.to_owned(), token_digest: [1; 32] }
}

fn created(store: &Store, name: &str, id: u128, groups: u64) -> Result<DatabaseRow> {
    let (row, change) = store.decide(|view| create_database(view, &new(name, id), groups, 5))?;
    store.commit(change).map_err(CatalogError::Conflict)?;
    Ok(row)
}

fn ended(store: &Store, which: &str) -> Result<DatabaseRow> {
    let (_, row, change) = store.decide(|view| end_database(view, which, 9))?;
    store.commit(change).map_err(CatalogError::Conflict)?;
    Ok(row)
}

#[test]
fn databases_are_spread_over_the_groups_beside_the_default_one() -> TestResult {
    let store = Store::new()?;
    let groups: Vec<u64> = (0..6u32)
        .map(|n| created(&store, &format!("db{n}"), u128::from(n) + 10, 3).map(|row| row.group.0))
        .collect::<Result<_>>()?;
    assert_eq!(groups, [2, 3, 1, 2, 3, 1]);
    Ok(())
}

#[test]
fn numbers_begin_after_the_default_database_and_are_never_given_again() -> TestResult {
    let store = Store::new()?;
    assert_eq!(created(&store, "a", 10, 1)?.number, DatabaseNumber(2));
    ended(&store, "a")?;
    store.commit(store.decide(|view| forget_database(view, Uuid::from_u128(10)))?)?;
    assert_eq!(created(&store, "a", 11, 1)?.number, DatabaseNumber(3));
    Ok(())
}

#[test]
fn a_name_is_taken_once_and_free_again_after_the_end() -> TestResult {
    let store = Store::new()?;
    created(&store, "shop", 10, 1)?;
    for name in ["shop", "default"] {
        let taken = created(&store, name, 11, 1);
        assert!(matches!(taken, Err(CatalogError::Conflict(_))), "{taken:?}");
    }
    for name in ["", "a b", "a/b", &"x".repeat(NAME_LEN_MAX + 1)] {
        let refused = created(&store, name, 11, 1);
        assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{refused:?}");
    }
    ended(&store, "shop")?;
    created(&store, "shop", 12, 1)?;
    let named = store.decide(|view| view.database_named("shop"))?.map(|found| found.row);
    assert_eq!(named, Some(Uuid::from_u128(12)));
    Ok(())
}

#[test]
fn a_database_ends_once_by_id_or_name_and_the_default_one_never() -> TestResult {
    let store = Store::new()?;
    for (name, id) in [("a", 10), ("b", 11)] {
        created(&store, name, id, 1)?;
    }
    let by_id = Uuid::from_u128(10).to_string();
    for which in [by_id.as_str(), "b"] {
        assert_eq!(ended(&store, which)?.state, DatabaseState::Ended);
        assert!(matches!(ended(&store, which), Err(CatalogError::NotFound(_))), "{which}");
    }
    let default = crate::connect::DEFAULT_DATABASE_ID.to_string();
    for which in ["default", default.as_str()] {
        assert!(matches!(ended(&store, which), Err(CatalogError::Conflict(_))), "{which}");
    }
    let rows = store.decide(|view| view.databases())?;
    assert!(rows.len() == 2 && rows.iter().all(|(_, found)| found.row.ended_ms == 9));
    Ok(())
}

#[test]
fn only_what_has_ended_is_forgotten() -> TestResult {
    let store = Store::new()?;
    created(&store, "a", 10, 1)?;
    let id = Uuid::from_u128(10);
    assert!(matches!(store.decide(|view| forget_database(view, id)), Err(CatalogError::NotFound(_))));
    ended(&store, "a")?;
    store.commit(store.decide(|view| forget_database(view, id))?)?;
    assert!(store.decide(|view| view.databases())?.is_empty());
    Ok(())
}
